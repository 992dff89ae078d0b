use super::*;
use std::process::Command;

/// A folder that looks enough like a kernel's.
fn kernel(folder: &Path) {
    fs::create_dir_all(folder.join("arch/x86")).unwrap();
    fs::create_dir_all(folder.join("scripts")).unwrap();
    for name in ["Kconfig", "Kbuild", "arch/x86/Kconfig", "scripts/tool"] {
        fs::write(folder.join(name), "").unwrap();
    }
    fs::write(
        folder.join("Makefile"),
        "# SPDX\nVERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 3\nEXTRAVERSION =\n",
    )
    .unwrap();
}

fn setup() -> (tempfile::TempDir, PathBuf, Cache) {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("linux");
    kernel(&tree);
    let cache = Cache::at(&folder.path().join("cache")).unwrap();
    (folder, tree, cache)
}

fn run(folder: &Path, program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_folder_is_taken_as_it_is() {
    let (_folder, tree, cache) = setup();
    let sources = Source::Folder(tree.clone()).resolve(&cache).unwrap();
    assert_eq!(
        (sources.folder.as_path(), sources.version.as_str(), sources.ours),
        (tree.as_path(), "6.12.3", false)
    );
    assert_eq!(sources.series(), "6.12");
    fs::write(tree.join("new.c"), "").unwrap();
    let changed = Source::Folder(tree).resolve(&cache).unwrap();
    assert_ne!(changed.identity, sources.identity);
    assert_eq!(changed.name, sources.name);
}

#[test]
fn what_is_no_kernel_is_refused_with_the_reason() {
    let (_folder, tree, cache) = setup();
    let why = |folder: &Path| Source::Folder(folder.to_owned()).resolve(&cache).unwrap_err().to_string();
    assert!(why(&tree.join("none")).contains("there is no such folder"));
    assert!(why(&tree.join("Kbuild")).contains("it is not a folder"));
    fs::remove_file(tree.join("Kconfig")).unwrap();
    assert!(why(&tree).contains("there is no Kconfig"));
    fs::write(tree.join("Makefile"), "all:\n").unwrap();
    assert!(why(&tree).contains("states no kernel version"));
    fs::remove_file(tree.join("Makefile")).unwrap();
    assert!(why(&tree).contains("it has no Makefile"));
}

#[test]
fn a_makefile_that_is_a_pipe_or_lies_elsewhere_is_not_read() {
    let (folder, tree, cache) = setup();
    let (makefile, elsewhere) = (tree.join("Makefile"), folder.path().join("other"));
    fs::rename(&makefile, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &makefile).unwrap();
    let error = || Source::Folder(tree.clone()).resolve(&cache).unwrap_err().to_string();
    assert!(error().contains("which is outside of"), "{}", error());
    for target in ["/dev/zero", "/dev/tty"] {
        fs::remove_file(&makefile).unwrap();
        std::os::unix::fs::symlink(target, &makefile).unwrap();
        assert!(error().contains("which is outside of"), "{}", error());
    }
    fs::remove_file(&makefile).unwrap();
    run(&tree, "mkfifo", &["Makefile"]);
    assert!(error().contains("a pipe"), "{}", error());
    // Nor is the tree of a tarball somebody else's.
    let entry = folder.path().join("entry");
    fs::create_dir(&entry).unwrap();
    std::os::unix::fs::symlink(&tree, entry.join("linux")).unwrap();
    assert_eq!(super::super::sources::top(&entry).unwrap(), entry);
}

#[test]
fn a_tarball_is_unpacked_once() {
    let (folder, tree, cache) = setup();
    let file = folder.path().join("linux.tar.gz");
    run(folder.path(), "tar", &["czf", "linux.tar.gz", "linux"]);
    let sources = Source::Tarball(file.clone()).resolve(&cache).unwrap();
    assert_eq!((sources.version.as_str(), sources.ours), ("6.12.3", true));
    assert!(sources.folder.starts_with(cache.root()) && sources.folder.join("Kconfig").exists());
    // The second time nothing is unpacked: what was changed stays.
    fs::write(sources.folder.join("mark"), "").unwrap();
    let again = Source::Tarball(file).resolve(&cache).unwrap();
    assert!(again.folder.join("mark").exists());
    assert_eq!(again.identity, sources.identity);
    drop(tree);
}

/// Most containers forbid user namespaces. Here it is bubblewrap that is not to be found, and the same walls are left.
#[test]
fn a_tarball_is_unpacked_where_there_are_no_namespaces() {
    let folder = tempfile::tempdir().unwrap();
    let programs = ["env", "gzip", "nice", "prlimit", "setpriv", "setsid", "sh", "tar"];
    for program in programs {
        std::os::unix::fs::symlink(crate::toolchain::find(program).unwrap(), folder.path().join(program))
            .unwrap();
    }
    let mut this = Command::new(std::env::current_exe().unwrap());
    this.args(["--exact", "source::tests::a_tarball_is_unpacked_once"]).env("PATH", folder.path());
    let output = this.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn a_tarball_that_is_none_leaves_nothing() {
    let (folder, tree, cache) = setup();
    let rubbish = folder.path().join("rubbish.tar.xz");
    fs::write(&rubbish, "no tarball").unwrap();
    let error = Source::Tarball(rubbish.clone()).resolve(&cache).unwrap_err();
    assert!(error.to_string().contains("rubbish.tar.xz"), "{error}");
    fs::remove_file(tree.join("Makefile")).unwrap();
    run(folder.path(), "tar", &["cJf", "rubbish.tar.xz", "linux"]);
    let error = Source::Tarball(rubbish).resolve(&cache).unwrap_err();
    assert!(error.to_string().contains("no Makefile"), "{error}");
    assert!(cache.keys(Kind::Source).unwrap().is_empty());
    assert_eq!(fs::read_dir(cache.root().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_git_revision_is_exported_without_the_work_tree() {
    let (_folder, tree, cache) = setup();
    run(&tree, "git", &["init", "-q"]);
    run(&tree, "git", &["add", "."]);
    let commit = ["-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "m"];
    run(&tree, "git", &commit);
    fs::write(tree.join("uncommitted"), "").unwrap();
    let at = |revision: &str| {
        Source::Git { repository: tree.clone(), revision: revision.to_owned(), checkout: None }
            .resolve(&cache)
    };
    let sources = at("HEAD").unwrap();
    assert!(sources.folder.join("Kbuild").exists() && !sources.folder.join("uncommitted").exists());
    for bad in ["nosuch", "--output=evil"] {
        let error = at(bad).unwrap_err().to_string();
        assert!(error.contains(&format!("find the revision {bad}")), "{error}");
        assert!(error.ends_with("there is no such revision"), "{error}");
    }
}

#[test]
fn a_folder_that_make_was_run_in_is_refused_with_the_easy_way_out() {
    let (_folder, tree, cache) = setup();
    fs::write(tree.join(".config"), "").unwrap();
    let why = || Source::Folder(tree.clone()).resolve(&cache).unwrap_err().to_string();
    assert!(!why().contains("#HEAD") && why().contains("mrproper"), "{}", why());
    run(&tree, "git", &["init", "-q"]);
    assert!(
        why().contains(&format!("; `--source {}#HEAD` takes what is committed", tree.display())),
        "{}",
        why()
    );
}

#[test]
fn what_a_server_does_not_have_is_asked_for_in_vain_and_one_that_does_not_answer_is_this_machines() {
    let (_folder, tree, cache) = setup();
    run(&tree, "git", &["init", "-q"]);
    run(&tree, "git", &["add", "."]);
    run(&tree, "git", &["-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "m"]);
    let get = |address: &str| {
        let source = Source::Remote { address: address.to_owned(), revision: "nosuch".into() };
        crate::KernelError::from(source.resolve(&cache).unwrap_err())
    };
    let error = get(&format!("file://{}", tree.display()));
    assert_eq!(error.fault(), base::cache::Fault::Input, "{error}");
    let error = get(&format!("file://{}/none", tree.display()));
    assert_eq!(error.fault(), base::cache::Fault::Input, "{error}");
    // Nobody listens there.
    let error = get("http://127.0.0.1:1/linux.git");
    assert_eq!(error.fault(), base::cache::Fault::Machine, "{error}");
}

#[test]
fn of_a_packages_versions_in_the_cache_the_newest_is_taken() {
    let (_folder, _tree, cache) = setup();
    for version in ["6.12.9-1", "6.12.117-1~deb12u1", "6.12.20-1"] {
        kernel(&cache.place(Kind::Source, &debian::key("linux-source-6.12", version)).join("linux"));
    }
    kernel(&cache.place(Kind::Source, &debian::key("linux-source-6.12-rt", "9-1")).join("linux"));
    let get = |version: Option<&str>| {
        let source =
            Source::Debian { package: "linux-source-6.12".to_owned(), version: version.map(str::to_owned) };
        source.resolve(&cache).unwrap().identity
    };
    assert_eq!(get(None), "linux-source-6.12_6.12.117-1~deb12u1");
    assert_eq!(get(Some("6.12.9-1")), "linux-source-6.12_6.12.9-1");
}

#[test]
fn a_package_that_apt_does_not_know_is_told_with_the_command_that_helps() {
    let (_folder, _tree, cache) = setup();
    let source = Source::Debian { package: "linux-source-0.01".to_owned(), version: None };
    let error = source.resolve(&cache).unwrap_err().to_string();
    assert!(error.contains("linux-source-0.01") && error.contains("apt-get update"), "{error}");
}

#[test]
fn an_archive_makes_no_device_and_does_not_fill_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(&folder.path().join("cache")).unwrap();
    let at = |name: &str| folder.path().join(name);
    let unpacked = |file: &Path| Source::Tarball(file.to_owned()).resolve(&cache).unwrap_err().to_string();
    fs::create_dir(at("bomb")).unwrap();
    // Zeros without holes, a thousandth of that once packed.
    let zeros = format!(
        "head -c 300000000 /dev/zero > {0}/bomb/zeros && tar -C {0} -czf {0}/bomb.tar.gz bomb",
        folder.path().display()
    );
    assert!(std::process::Command::new("sh").args(["-c", &zeros]).status().unwrap().success());
    let said = unpacked(&at("bomb.tar.gz"));
    assert!(said.contains("VMM_LIMITS=disk"), "{said}");
    assert_eq!(fs::read_dir(cache.root().join("tmp")).unwrap().count(), 0);
    if nix::unistd::geteuid().is_root() {
        fs::create_dir(at("devices")).unwrap();
        let device = format!(
            "mknod {0}/devices/disk b 254 0 && tar -C {0} -cf {0}/devices.tar devices",
            folder.path().display()
        );
        // A container may forbid the making of the archive itself.
        if std::process::Command::new("sh").args(["-c", &device]).status().unwrap().success() {
            let said = unpacked(&at("devices.tar"));
            assert!(said.contains("Cannot mknod"), "{said}");
        }
    }
}

#[test]
fn a_source_that_would_have_to_be_fetched_or_unpacked_is_not_here() {
    let (folder, tree, cache) = setup();
    let tarball = folder.path().join("linux.tar");
    run(folder.path(), "tar", &["-cf", "linux.tar", "linux"]);
    let sum = digest(&tarball).unwrap();
    let download = |sha256: &str| Source::Download {
        address: "https://localhost/linux.tar".to_owned(),
        sha256: Some(sha256.to_owned()),
    };
    let debian = Source::Debian { package: "linux-source-6.12".to_owned(), version: None };
    let remote = Source::Remote { address: "https://localhost/x".to_owned(), revision: "v6.12".to_owned() };
    let is_here = |source: &Source| source.is_here(&cache).unwrap();
    assert!(is_here(&Source::Folder(tree.clone())));
    let packed = Source::Tarball(tarball);
    for source in [&packed, &download(&sum), &debian, &remote] {
        assert!(!is_here(source), "{source}");
    }
    packed.resolve(&cache).unwrap();
    assert!(is_here(&packed) && is_here(&download(&sum)) && !is_here(&download(&"0".repeat(64))));
    run(&tree, "git", &["init", "-q"]);
    run(&tree, "git", &["add", "."]);
    run(&tree, "git", &["-c", "user.name=A", "-c", "user.email=a@b", "commit", "-q", "-m", "first"]);
    let revision = Source::Git { repository: tree.clone(), revision: "HEAD".to_owned(), checkout: None };
    assert!(!is_here(&revision));
    revision.resolve(&cache).unwrap();
    assert!(is_here(&revision));
}
