//! `vmm run` as a process in the host, with all that a user waits for.

use host::{emulated::HostFile, emulated_intel::Job};
use std::{fs, io, path::Path};

/// `vmm run` of hello as a user has it, from the process's start to its end, one after the other in one cache. The first
/// looks through all that is new to it.
pub const PROCESSES: [(&str, &[&str]); 3] = [("", &[]), ("vmm run hello: cold", &["--cold"]), (WARM, &[])];

/// The last of them.
pub const WARM: &str = "vmm run hello: warm";

/// Where it is in the host: scenario, module, cache. The agent has to lie beside the program, which is the host's init.
const SCENARIO: &str = "/scenario/hello.yaml";
const MODULE: &str = "/scenario/helloModule.ko";
const CACHE: &str = "/cache";

/// Such a process, in the host.
pub fn job(arguments: &[&str], kernel: &str) -> Job {
    let all = [&["run", SCENARIO, "--host", "kvm", "--kernel", kernel], arguments].concat();
    Job::Program {
        arguments: all.into_iter().map(str::to_owned).collect(),
        environment: vec![("VMM_CACHE".to_owned(), CACHE.to_owned())],
    }
}

/// What these processes need: the scenario of this text with its module as it was built, the agent, and of the kernel what
/// the cache has, without what modules are built with.
///
/// # Errors
/// A file can't be read, or the scenario does not name its module as it did.
pub fn files(hello: &str, module: &Path, agent: &Path, kernel: &Path) -> io::Result<Vec<HostFile>> {
    let theirs = "modules: [../modules/hello]";
    if !hello.contains(theirs) {
        return Err(io::Error::other(format!("scenarios/hello.yaml has no `{theirs}`")));
    }
    let hello = hello.replace(theirs, &format!("modules: [{MODULE}]"));
    let mut files = vec![
        (SCENARIO.to_owned(), 0o444, hello.into_bytes()),
        (MODULE.to_owned(), 0o444, fs::read(module)?),
        ("/vmm-agent".to_owned(), 0o555, fs::read(agent)?),
    ];
    let hash = kernel.file_name().unwrap_or_default().to_string_lossy();
    let place = format!("{CACHE}/kernels/{hash}");
    let mut entries = fs::read_dir(kernel)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_type()?.is_file() {
            let name = entry.file_name();
            files.push((format!("{place}/{}", name.to_string_lossy()), 0o644, fs::read(entry.path())?));
        }
    }
    let symvers = "build/Module.symvers";
    files.push((format!("{place}/{symvers}"), 0o644, fs::read(kernel.join(symvers))?));
    Ok(files)
}
