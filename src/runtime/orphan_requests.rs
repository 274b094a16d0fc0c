//! Requests about what is left over: list, confirm, decline.

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use super::blocking::stopping;
use super::orphans::about;
use super::owner::Owner;
use crate::api::{OrphanListParams, OrphanRefs, OrphanResult, OrphanResultsReply, OrphanView, OrphansReply};
use crate::bus::Context;
use crate::clock::{self, Timestamp};
use crate::failure::{Code, Failure};
use crate::recovery::memory::Memory;
use crate::recovery::orphan::Orphan;

/// What somebody named.
enum Named {
    /// This one, which is there.
    There(Box<Orphan>),
    /// This one, which is not there any more.
    Gone(String),
}

impl Owner {
    /// `orphan.list`: looks now.
    pub(super) async fn orphan_list(
        &self,
        asked: OrphanListParams,
        _context: Context,
    ) -> Result<OrphansReply, Failure> {
        let mut held = self.watch.turn().await;
        let began = Instant::now();
        let seen = self.look_twice(&mut held).await?;
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (memory, now) = (held.memory(), clock::now());
        let orphans = seen.iter().filter_map(|orphan| view(orphan, &memory, now, asked.all)).collect();
        Ok(OrphansReply { orphans, cycles: memory.cycles, ms })
    }

    /// `orphan.confirm`: looks again, and deals with what still is there and still is nobody's.
    pub(super) async fn orphan_confirm(
        self: &Arc<Self>,
        asked: OrphanRefs,
        context: Context,
    ) -> Result<OrphanResultsReply, Failure> {
        self.guard(&context, None, "decide about what is left over of")?;
        let named = {
            let mut held = self.watch.turn().await;
            let seen = self.look_twice(&mut held).await?;
            name_all(&asked.orphans, &seen, &held.memory())
        };
        let mut results = Vec::new();
        for (words, named) in named {
            results.push(match named {
                Ok(Named::There(orphan)) => {
                    // In a task of the runtime: a caller that goes away takes nothing back.
                    let (owner, context, id) = (Arc::clone(self), context.clone(), orphan.id());
                    let dealing =
                        self.background.spawn(async move { owner.confirm_one(&orphan, &context).await });
                    result(id, dealing.await.map_err(|_aborted| stopping())?)
                }
                Ok(Named::Gone(id)) => result(id, Ok(vec!["it is gone already".into()])),
                Err(failure) => result(words, Err(failure)),
            });
        }
        Ok(OrphanResultsReply { results })
    }

    async fn confirm_one(
        self: &Arc<Self>,
        orphan: &Orphan,
        context: &Context,
    ) -> Result<Vec<String>, Failure> {
        let dealt = self.deal_with(orphan, context).await?;
        let id = orphan.id();
        let mut payload = json!({
            "orphan_id": id,
            "kind": orphan.kind().name(),
            "what": orphan.resource().lossy(),
            "notes": dealt.notes,
        });
        if let Some(lane) = dealt.trash {
            payload["trash"] = json!(lane);
        }
        let mut held = self.watch.turn().await;
        let mut memory = held.memory();
        memory.confirm(&id, clock::now());
        let event = about(orphan, context.draft("orphan.confirmed", payload));
        self.write(&mut held, memory, vec![event]).await?;
        Ok(dealt.notes)
    }

    /// `orphan.decline`.
    pub(super) async fn orphan_decline(
        &self,
        asked: OrphanRefs,
        context: Context,
    ) -> Result<OrphanResultsReply, Failure> {
        self.guard(&context, None, "decide about what is left over of")?;
        let mut held = self.watch.turn().await;
        let seen = self.look_twice(&mut held).await?;
        let (mut memory, mut events, mut results) = (held.memory(), Vec::new(), Vec::new());
        let cooldown = u64::try_from(self.watch.rules.cooldown.as_millis()).unwrap_or(u64::MAX);
        let until = Timestamp(clock::now().as_ms().saturating_add(cooldown));
        for (words, named) in name_all(&asked.orphans, &seen, &memory) {
            results.push(match named {
                Ok(Named::There(orphan)) => {
                    let id = orphan.id();
                    memory.decline(&id, until);
                    let payload = json!({
                        "orphan_id": id,
                        "kind": orphan.kind().name(),
                        "what": orphan.resource().lossy(),
                        "until": until,
                    });
                    events.push(about(&orphan, context.draft("orphan.declined", payload)));
                    result(id, Ok(vec![format!("not suggested again before {until}")]))
                }
                Ok(Named::Gone(id)) => result(id, Ok(vec!["it is gone already".into()])),
                Err(failure) => result(words, Err(failure)),
            });
        }
        self.write(&mut held, memory, events).await?;
        Ok(OrphanResultsReply { results })
    }
}

fn result(orphan: String, done: Result<Vec<String>, Failure>) -> OrphanResult {
    match done {
        Ok(notes) => OrphanResult { orphan, ok: true, error: None, notes },
        Err(failure) => OrphanResult { orphan, ok: false, error: Some(failure), notes: Vec::new() },
    }
}

/// What each of these means. The same thing named twice is dealt with once.
fn name_all(words: &[String], seen: &[Orphan], memory: &Memory) -> Vec<(String, Result<Named, Failure>)> {
    let mut named: Vec<(String, Result<Named, Failure>)> = Vec::new();
    let mut ids = std::collections::BTreeSet::new();
    for words in words {
        let one = name(words, seen, memory);
        let is_new = match &one {
            Ok(Named::There(orphan)) => ids.insert(orphan.id()),
            Ok(Named::Gone(id)) => ids.insert(id.clone()),
            Err(_unknown) => true,
        };
        if is_new {
            named.push((words.clone(), one));
        }
    }
    named
}

/// What an id, or the unique start of one, means. Only what was suggested can be named.
fn name(words: &str, seen: &[Orphan], memory: &Memory) -> Result<Named, Failure> {
    let shown: String = words.chars().take(80).collect();
    let mut ids = if words.is_empty() { Vec::new() } else { memory.matching(words) };
    ids.retain(|id| memory.things.get(*id).is_some_and(|thing| thing.told || thing.confirmed.is_some()));
    if let Some(exact) = ids.iter().position(|id| *id == words) {
        ids = vec![ids[exact]];
    }
    match ids.as_slice() {
        [] => Err(Failure::new(Code::OrphanNotFound, format!("there is no suggestion {shown:?}"))
            .hint("lanes orphans ls shows what there is")),
        [id] => Ok(match seen.iter().find(|orphan| orphan.id() == **id) {
            Some(orphan) => Named::There(Box::new(orphan.clone())),
            None => Named::Gone((*id).to_owned()),
        }),
        several => Err(Failure::new(
            Code::OrphanNotFound,
            format!("{} suggestions begin with {shown:?}", several.len()),
        )
        .hint("give more of the id: lanes orphans ls")),
    }
}

/// One suggestion as users see it; declined ones only when all are asked for.
fn view(orphan: &Orphan, memory: &Memory, now: Timestamp, all: bool) -> Option<OrphanView> {
    let id = orphan.id();
    let declined = memory.things.get(&id).filter(|thing| thing.is_declined(now));
    let is_shown = memory.suggests(&id, now) || (all && declined.is_some());
    if !is_shown {
        return None;
    }
    Some(OrphanView {
        kind: orphan.kind().name().to_owned(),
        resource: orphan.resource(),
        owner: orphan.owner.to_string(),
        since: orphan.since,
        age_s: orphan.since.age(now).as_secs(),
        risk: orphan.risk(now).name().to_owned(),
        reason: orphan.reason.clone(),
        action: orphan.kind().action().to_owned(),
        task_id: orphan.task,
        declined_until: declined.and_then(|thing| thing.declined_until),
        id,
    })
}
