//! The copy of the keeper's program that outlives its original.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::TaskError;

/// Copies `from` into `bin`, named after its content, unless that copy is there; says where it is.
pub(super) fn copy(from: &Path, bin: &Path) -> Result<PathBuf, TaskError> {
    let failed = |source| TaskError::CopyKeeper { from: from.to_path_buf(), to: bin.to_path_buf(), source };
    let mut source = File::open(from).map_err(failed)?;
    DirBuilder::new().recursive(true).mode(0o700).create(bin).map_err(failed)?;
    let sibling = bin.join(format!(".new-{}", uuid::Uuid::new_v4().simple()));
    let copied = copy_hashed(&mut source, &sibling).and_then(|hash| {
        let target = bin.join(format!("lanes-{hash}"));
        // Always replaced: an earlier copy may have been cut off by a full disk or changed since, and a
        // keeper that runs from it keeps its file.
        std::fs::rename(&sibling, &target)?;
        Ok(target)
    });
    if copied.is_err() {
        let _may_never_have_been = std::fs::remove_file(&sibling);
    }
    copied.map_err(failed)
}

fn copy_hashed(source: &mut File, to: &Path) -> std::io::Result<String> {
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o700).open(to)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let n = source.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
        target.write_all(&buffer[..n])?;
    }
    let digest = hash.finalize();
    Ok(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}
