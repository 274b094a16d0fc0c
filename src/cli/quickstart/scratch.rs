//! The folder that the quickstart works in: a home of its own and, unless a real one is given, a repository.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::super::environment::Environment;
use crate::failure::Failure;
use crate::worktree::{self, Git, GitConfig, Mode, Place};

/// How many lanes are made.
pub const LANES: usize = 5;
/// Its configuration: spares would be left for lanes that nobody makes any more.
const CONFIG: &str = "config.toml";
const NAMES: [&str; LANES] = ["red", "green", "blue", "amber", "violet"];

/// The scratch folder. It is ours alone: random name, 0700.
pub struct Scratch {
    folder: PathBuf,
    repo: PathBuf,
    mark: String,
    real: bool,
    git: Git,
    place: Place,
}

impl Scratch {
    /// Makes it; with `real` no repository is made.
    pub async fn make(at: &Environment, real: Option<&Path>) -> Result<Self, Failure> {
        let git = Git::find(GitConfig::default()).await?;
        let mark = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        // A short name: the path of a socket has 107 bytes.
        let folder = std::env::temp_dir().join(format!("lanes-{mark}"));
        let failed = |error| Failure::io(format!("make {}", folder.display()), &error);
        std::fs::DirBuilder::new().mode(0o700).create(&folder).map_err(failed)?;
        let folder = std::fs::canonicalize(&folder).map_err(failed)?;
        std::fs::DirBuilder::new().mode(0o700).create(folder.join("home")).map_err(failed)?;
        std::fs::write(folder.join(CONFIG), "pool.size = 0\n").map_err(failed)?;
        let repo = real.map_or_else(|| folder.join("demo"), |path| at.cwd.join(path));
        let mut scratch = Self { folder, repo, mark, real: real.is_some(), git, place: Place::nowhere() };
        let filled = if scratch.real { scratch.check().await } else { scratch.fill().await };
        match filled {
            Ok(()) => Ok(scratch),
            Err(failure) => {
                let _we_fail_anyway = scratch.remove();
                Err(failure)
            }
        }
    }

    async fn check(&mut self) -> Result<(), Failure> {
        let found = worktree::discover(&self.git, &self.repo).await?;
        self.place = match &found.main_tree {
            Some(tree) => Place::tree(&found.common_dir, tree),
            None => Place::repository(&found),
        };
        if let Some(tree) = found.main_tree {
            self.repo = tree;
        }
        Ok(())
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        let write = |name: &str, text: &str| {
            let path = self.repo.join(name);
            path.parent()
                .map_or(Ok(()), std::fs::create_dir_all)
                .and_then(|()| std::fs::write(&path, text))
                .map_err(|error| Failure::io(format!("write {}", path.display()), &error))
        };
        write("README.md", "# demo\n\nA scratch repository of `lanes quickstart`.\n")?;
        for n in 1..=20 {
            write(&format!("src/part_{n:02}.txt"), &format!("part {n}\n").repeat(50))?;
        }
        self.git(Mode::Write, &["init", "--quiet", "--initial-branch=main", "."]).await?;
        self.place = Place::tree(&self.repo.join(".git"), &self.repo);
        self.git(Mode::Write, &["add", "--all"]).await?;
        self.git(Mode::Write, &["commit", "--quiet", "--message=start"]).await?;
        Ok(())
    }

    /// Where the commands of the tour work: this repository, this home and its configuration, nothing of the user.
    pub fn environment(&self, at: &Environment) -> Environment {
        Environment {
            home: self.home(),
            cwd: self.repo.clone(),
            user_file: Some(self.folder.join(CONFIG)),
            ..at.clone()
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The repository.
    pub fn repo(&self) -> &Path {
        &self.repo
    }

    /// The state folder.
    pub fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// The names of the lanes; in a real repository with a mark, so that they are nobody else's.
    pub fn names(&self) -> Vec<String> {
        let mark = if self.real { format!("-{}", self.mark) } else { String::new() };
        NAMES.iter().map(|name| format!("{name}{mark}")).collect()
    }

    /// Runs git in the repository. What it prints, without the last line break.
    pub async fn git(&self, mode: Mode, arguments: &[&str]) -> Result<String, Failure> {
        let mut command = self.git.command(mode, &self.place, arguments.iter().copied());
        command.cwd.clone_from(&self.repo);
        if !self.real {
            command = command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        }
        let command = command.config("user.name", "lanes").config("user.email", "lanes@localhost");
        let label = command.label.clone();
        Ok(self.git.run(command, self.git.timeout()).await?.success(&label)?.text())
    }

    /// Removes the folder.
    pub fn remove(&self) -> Result<(), Failure> {
        std::fs::remove_dir_all(&self.folder)
            .map_err(|error| Failure::io(format!("remove {}", self.folder.display()), &error))
    }
}
