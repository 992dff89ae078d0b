use super::*;

struct Setup {
    folder: tempfile::TempDir,
}

/// A project with two series and two fragments, a source folder, a tarball, and a built kernel.
fn setup() -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for name in
        ["6.12/series", "7.3/series", "config/base.config", "config/guest.config", "config/kasan.config"]
    {
        write(&format!("project/kernel-patches/{name}"), "");
    }
    write("linux/Makefile", "");
    write("linux.tar.xz", "");
    write("my.config", "");
    write("kernels/0123456789abcdef/kernel.json", "");
    write("kernels/0123fffffffabcde/kernel.json", "");
    Setup { folder }
}

impl Setup {
    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn meant(&self, wanted: &Wanted) -> Result<Meant, WantedError> {
        super::meant(wanted, &self.folder.path().join("project"), &self.folder.path().join("kernels"))
    }

    fn recipe(&self, wanted: &Wanted) -> Recipe {
        match self.meant(wanted) {
            Ok(Meant::Recipe(recipe)) => recipe,
            other => panic!("{other:?}"),
        }
    }

    fn error(&self, wanted: &Wanted) -> String {
        self.meant(wanted).unwrap_err().to_string()
    }
}

fn source(text: &str) -> Wanted {
    Wanted { source: Some(text.to_owned()), ..Wanted::default() }
}

#[test]
fn nothing_means_the_default_series() {
    let setup = setup();
    let recipe = setup.recipe(&Wanted::default());
    assert_eq!(recipe.source.to_string(), "linux-source-6.12");
    assert_eq!(recipe.series, Patches::Folder(setup.path("project/kernel-patches/6.12").into()));
    assert_eq!(recipe.fragments, [PathBuf::from(setup.path("project/kernel-patches/config/base.config"))]);
    assert_eq!(recipe.compiler, Compiler::Gcc);
}

#[test]
fn a_source_is_told_by_what_it_is() {
    let setup = setup();
    let (folder, tarball) = (setup.path("linux"), setup.path("linux.tar.xz"));
    let of = |text: &str| setup.recipe(&source(text)).source;
    assert_eq!(of(&folder), Source::Folder(folder.clone().into()));
    assert_eq!(of(&tarball), Source::Tarball(tarball.clone().into()));
    assert_eq!(
        of(&format!("{folder}#v6.12")),
        Source::Git { repository: folder.clone().into(), revision: "v6.12".into(), checkout: None }
    );
    assert_eq!(
        of("https://example.org/linux.git#master"),
        Source::Remote { address: "https://example.org/linux.git".into(), revision: "master".into() }
    );
    assert_eq!(
        of("linux-source-6.1=6.1.5-1"),
        Source::Debian { package: "linux-source-6.1".into(), version: Some("6.1.5-1".into()) }
    );
    let series = setup.recipe(&source(&folder)).series;
    assert_eq!(series, Patches::Matching(setup.path("project/kernel-patches").into()));
}

#[test]
fn what_is_no_source_is_told_apart() {
    let setup = setup();
    assert!(setup.error(&source("/nowhere")).contains("no such file or folder"));
    assert!(setup.error(&source("/nowhere#v1")).contains("no such file or folder"));
    assert!(setup.error(&source("https://example.org/x")).contains("say which revision"));
    assert!(setup.error(&source(&(setup.path("linux.tar.xz") + "#v1"))).contains("only git repositories"));
    assert!(setup.error(&source("linux-source-6.1#v1")).contains("only git repositories"));
}

#[test]
fn a_finished_kernel_is_found_by_hash_or_file_and_takes_no_options() {
    let setup = setup();
    let entry = PathBuf::from(setup.path("kernels/0123456789abcdef"));
    assert_eq!(setup.meant(&Wanted::series("01234")), Ok(Meant::Built(entry)));
    assert!(setup.error(&Wanted::series("0123")).contains("no hash"), "two begin like this");
    assert!(setup.error(&Wanted::series("9.9")).contains("known: 6.12, 7.3"));
    let file = setup.path("linux.tar.xz");
    let foreign = Meant::Foreign { image: file.clone().into(), modules: None };
    assert_eq!(setup.meant(&Wanted::series(&file)), Ok(foreign));
    let both = Wanted { fragments: vec!["kasan".into()], ..Wanted::series("01234") };
    assert!(setup.error(&both).contains("nothing is built then"));
}

#[test]
fn configurations_other_than_tiny_get_the_smaller_fragment() {
    let setup = setup();
    let with = |config: String| Wanted { config: Some(config), ..Wanted::default() };
    let recipe = setup.recipe(&with("defconfig".into()));
    assert_eq!(recipe.base, Base::Default);
    assert!(recipe.fragments[0].ends_with("guest.config"));
    let file = setup.path("my.config");
    assert_eq!(setup.recipe(&with(file.clone())).base, Base::File(file.clone().into()));
    let local = format!("localmodconfig:{file}:{file}");
    let base = Base::Local { lsmod: file.clone().into(), config: file.into() };
    assert_eq!(setup.recipe(&with(local)).base, base);
    assert!(setup.error(&with("tinny".into())).contains("there is no such file"));
    assert!(setup.error(&with("localmodconfig:/nowhere:/nowhere".into())).contains("/nowhere"));
}

#[test]
fn a_fragment_is_a_name_or_a_file_and_a_typo_is_answered() {
    let setup = setup();
    let with = |name: &str| Wanted { fragments: vec![name.to_owned()], ..Wanted::default() };
    assert!(setup.recipe(&with("kasan")).fragments[1].ends_with("config/kasan.config"));
    let file = setup.path("my.config");
    assert_eq!(setup.recipe(&with(&file)).fragments[1], Path::new(&file));
    assert!(setup.error(&with("kasam")).contains("did you mean `kasan`?"));
    assert!(setup.error(&with("xyz")).contains("(ready-made: kasan)"));
}

#[test]
fn a_series_needs_its_list() {
    let setup = setup();
    let with = |name: &str| Wanted { series: Some(name.to_owned()), ..source(&setup.path("linux")) };
    assert_eq!(setup.recipe(&with("none")).series, Patches::None);
    assert_eq!(
        setup.recipe(&with("7.3")).series,
        Patches::Folder(setup.path("project/kernel-patches/7.3").into())
    );
    assert!(setup.error(&with(&setup.path("linux"))).contains("no file `series`"));
    assert!(setup.error(&with("/nowhere")).contains("there is no such folder"));
}

#[test]
fn a_series_may_choose_its_compiler() {
    let setup = setup();
    let file = setup.folder.path().join("project/kernel-patches/7.3/recipe.yaml");
    fs::write(&file, "compiler: rustc\n").unwrap();
    assert!(setup.error(&Wanted::series("7.3")).contains("recipe.yaml"));
    // Whoever uses the folder, by whatever option.
    let named = Wanted { series: Some("7.3".into()), ..source(&setup.path("linux")) };
    assert!(setup.error(&named).contains("recipe.yaml"));
    let path = setup.path("project/kernel-patches/7.3");
    assert!(setup.error(&Wanted { series: Some(path), ..Wanted::default() }).contains("recipe.yaml"));
    // Who reads it for the compiler reads it as who loads the series does.
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
    assert!(setup.error(&Wanted::series("7.3")).contains("is a link to /etc/passwd"));
    fs::remove_file(&file).unwrap();
    fs::write(&file, "compiler: gcc\n").unwrap();
    assert_eq!(setup.recipe(&Wanted::series("7.3")).compiler, Compiler::Gcc);
    let old = Wanted { llvm: Some("0".into()), ..Wanted::default() };
    assert!(setup.error(&old).contains("no clang-0 with its ld.lld-0"));
}

#[test]
fn the_command_line_goes_before_the_scenario() {
    let scenario = Wanted { series: Some("none".into()), fragments: vec!["kasan".into()], ..source("/a") };
    let options = Wanted { llvm: Some("1".into()), fragments: vec!["lockdep".into()], ..Wanted::default() };
    let both = options.or(&scenario);
    assert_eq!((both.source.as_deref(), both.llvm.as_deref()), (Some("/a"), Some("1")));
    assert_eq!(both.fragments, ["kasan", "lockdep"]);
    let other = Wanted::series("7.3").or(&scenario);
    assert_eq!((other.source, other.series, other.fragments), (None, None, vec!["kasan".to_owned()]));
}

#[test]
fn a_scenarios_paths_begin_at_its_folder() {
    let setup = setup();
    let wanted = Wanted {
        config: Some("my.config".into()),
        fragments: vec!["kasan".into(), "./my.config".into()],
        ..source("linux#v1")
    };
    let wanted = wanted.relative_to(setup.folder.path());
    assert_eq!(wanted.source, Some(setup.path("linux#v1")));
    assert_eq!(wanted.config, Some(setup.path("my.config")));
    assert_eq!(wanted.fragments, ["kasan".to_owned(), setup.path("./my.config")]);
    let package = source("linux-source-6.1").relative_to(setup.folder.path());
    assert_eq!(package.source.as_deref(), Some("linux-source-6.1"));
}

#[test]
fn a_tarball_of_the_web_needs_a_checksum() {
    let address = "https://cdn.example.org/linux-6.12.5.tar.xz";
    let meant = |text: &str| {
        let wanted = Wanted { source: Some(text.to_owned()), ..Wanted::default() };
        named_source(&wanted, text)
    };
    let sum = "0123456789abcdef".repeat(4);
    let download = |sha256| Ok(Source::Download { address: address.to_owned(), sha256 });
    assert_eq!(meant(&format!("{address}#sha256={}", sum.to_uppercase())), download(Some(sum.clone())));
    assert_eq!(meant(&format!("{address}#{sum}")), download(Some(sum)));
    assert_eq!(meant(&format!("{address}#insecure")), download(None));
    assert_eq!(meant(address), Err(WantedError::NoChecksum(address.to_owned())));
    assert!(matches!(meant(&format!("{address}#sha256=12")), Err(WantedError::BadChecksum(..))));
    // A repository is still one.
    let remote = "https://example.org/linux.git#v6.12";
    assert!(matches!(meant(remote), Ok(Source::Remote { .. })));
}

/// A commit that only raises the version would be proven guilty of what a compiler or a patch does.
#[test]
fn all_kernels_of_a_history_have_the_same_patches_and_compiler() {
    let setup = setup();
    let patches = setup.folder.path().join("project/kernel-patches");
    fs::write(patches.join("7.3/recipe.yaml"), "compiler: llvm\n").unwrap();
    let of = |versions: &[&str]| {
        let versions: Vec<String> = versions.iter().map(|it| (*it).to_owned()).collect();
        let (series, llvm) = of_history(&versions, &patches).unwrap();
        format!("{series} {}", llvm.as_deref().unwrap_or("gcc"))
    };
    // As each commit has them by itself.
    assert_eq!(of(&["7.3", "7.3"]), "7.3 gcc", "the series says by what it is built");
    assert_eq!(of(&["6.11", "6.11"]), "none gcc");
    assert_eq!(of(&["7.2", "7.3"]), "none 1");
    assert_eq!(of(&["7.3", "7.4"]), "none gcc");
    assert_eq!(of(&["6.11", "6.12"]), "none gcc");
}
