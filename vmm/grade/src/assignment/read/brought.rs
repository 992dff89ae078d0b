//! What a test brings of the teacher's: with other files, everybody is graded anew.

use crate::stand_in::StandIn;
use scenario::{
    ModuleKind, Scenario,
    model::{GuestFile, GuestFileKind, ModuleSource},
};
use sha2::{Digest, Sha256};
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// A hash of all files that a scenario takes along, but for a student's own. Where they lie changes nothing, nor from where the command
/// was started.
pub fn hash(scenario: &Scenario, stand_in: &StandIn) -> String {
    let mut digest = Sha256::new();
    let mut add = |name: &[u8], content: &[u8]| {
        for part in [name, content] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
    };
    for file in scenario.files.iter().filter(|file| !stand_in.has(&file.host)) {
        // What can't be read, no test can bring.
        add(file.guest.as_bytes(), &content(file).unwrap_or_default());
    }
    for module in scenario.modules.iter().filter(|module| !stand_in.has(&module.path)) {
        let (folder, files) = sources(module);
        add(name(&module.path).as_bytes(), &[]);
        for file in files {
            let inside =
                file.strip_prefix(&folder).map_or_else(|_| name(&file), |it| it.display().to_string());
            add(inside.as_bytes(), &fs::read(&file).unwrap_or_default());
        }
    }
    crate::hex(&digest.finalize())
}

/// What the guest gets of a file, and whether it can be executed there.
fn content(file: &GuestFile) -> io::Result<Vec<u8>> {
    match file.kind {
        GuestFileKind::Folder => Ok(Vec::new()),
        GuestFileKind::Link => Ok(fs::read_link(&file.host)?.into_os_string().into_encoded_bytes()),
        GuestFileKind::Program => {
            let sources = module::program_sources(&file.host).map_err(io::Error::other)?;
            let read = sources.iter().map(fs::read).collect::<io::Result<Vec<_>>>()?;
            Ok(read.iter().flat_map(|text| text.iter().copied().chain([0])).collect())
        }
        GuestFileKind::File => {
            let mut content = fs::read(&file.host)?;
            content.push(u8::from(fs::metadata(&file.host)?.permissions().mode() & 0o100 != 0));
            Ok(content)
        }
    }
}

/// What a module is made of, and the folder in which most of that is: what its build includes from elsewhere is of it, too.
fn sources(module: &ModuleSource) -> (PathBuf, Vec<PathBuf>) {
    let folder = fs::canonicalize(&module.path).unwrap_or_default();
    match module.kind {
        ModuleKind::Object => (folder, vec![module.path.clone()]),
        // Of what is no module's folder nothing can be built, whatever is in it.
        ModuleKind::Folder => (folder, module::sources(&module.path).unwrap_or_default()),
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
