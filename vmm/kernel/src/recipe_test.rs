use super::*;
use std::path::Path;

fn sources(identity: &str) -> Sources {
    Sources {
        folder: "/nowhere".into(),
        identity: identity.to_owned(),
        name: "linux".to_owned(),
        ours: true,
        version: "6.12.1".to_owned(),
        tree: None,
    }
}

fn loaded(patches: &[&str], config: &str) -> Loaded {
    let patch = |text: &&str| Patch { path: "p".into(), text: text.as_bytes().to_vec() };
    Loaded {
        series: Series { patches: patches.iter().map(patch).collect(), recipe: None },
        requests: config::parse(Path::new("c"), config).unwrap(),
        base: LoadedBase { identity: "tinyconfig".to_owned(), config: None },
    }
}

fn standard(project: &str) -> Recipe {
    let patches = Path::new(project).join("kernel-patches");
    Recipe {
        source: Source::Debian { package: "linux-source-6.12".to_owned(), version: None },
        series: Patches::Folder(patches.join("6.12")),
        base: Base::Tiny,
        fragments: vec![patches.join("config/base.config")],
        compiler: Compiler::Gcc,
        apart: false,
    }
}

#[test]
fn everything_that_shapes_a_kernel_is_in_its_hash() {
    let hash = |source: &str, patches: &[&str], config: &str, base: &str, tools: &str| {
        let base = LoadedBase { identity: base.to_owned(), config: None };
        Loaded { base, ..loaded(patches, config) }.hash(&sources(source), tools)
    };
    let hashes = [
        hash("s", &["a", "b"], "CONFIG_A=y", "tinyconfig", "gcc 12"),
        hash("S", &["a", "b"], "CONFIG_A=y", "tinyconfig", "gcc 12"),
        hash("s", &["b", "a"], "CONFIG_A=y", "tinyconfig", "gcc 12"),
        hash("s", &["ab"], "CONFIG_A=y", "tinyconfig", "gcc 12"),
        hash("s", &["a", "b"], "CONFIG_A=m", "tinyconfig", "gcc 12"),
        hash("s", &["a", "b"], "CONFIG_A=y", "defconfig", "gcc 12"),
        hash("s", &["a", "b"], "CONFIG_A=y", "tinyconfig", "gcc 13"),
    ];
    let distinct: std::collections::BTreeSet<_> = hashes.iter().collect();
    assert_eq!(distinct.len(), hashes.len());
    assert!(hashes.iter().all(|hash| hash.len() == 16));
}

/// Whoever edits a patch or a fragment asks for something else, also where the source is not known yet.
#[test]
fn what_is_done_to_a_source_is_known_without_the_source() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join("kernel-patches").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let files = ["config/base.config", "6.12/1.patch", "7.3/2.patch"];
    files.iter().for_each(|file| write(file, ""));
    write("6.12/series", "1.patch\n");
    write("7.3/series", "2.patch\n");
    let recipe = standard(folder.path().to_str().unwrap());
    let all = folder.path().join("kernel-patches");
    let recipe = Recipe { series: Patches::Matching(all), ..recipe };
    let mut known = vec![recipe.additions().unwrap()];
    for (file, text) in files.iter().zip(["CONFIG_A=y\n", "a", "b"]) {
        write(file, text);
        known.push(recipe.additions().unwrap());
    }
    // One that makes no sense is nothing to those of other versions.
    write("7.3/series", "2.patch -R\n");
    known.push(recipe.additions().unwrap());
    let distinct: std::collections::BTreeSet<_> = known.iter().collect();
    assert_eq!(distinct.len(), 5);
    assert_eq!(known.last(), Some(&recipe.additions().unwrap()));
}

#[test]
fn comments_and_the_order_of_symbols_are_not() {
    let hash = |config| loaded(&[], config).hash(&sources("s"), "gcc");
    assert_eq!(hash("CONFIG_A=y\nCONFIG_B=y\n"), hash("# why\nCONFIG_B=y\nCONFIG_A=n\nCONFIG_A=y\n"));
}

#[test]
fn recipes_that_differ_in_a_patch_share_a_build_folder_and_others_do_not() {
    let recipe = standard("/project");
    let slot = |recipe: &Recipe, tools: &str| recipe.slot(&sources("s"), tools);
    let other_series = Recipe { series: Patches::None, ..recipe.clone() };
    assert_eq!(slot(&recipe, "gcc"), slot(&other_series, "gcc"));
    assert_ne!(slot(&recipe, "gcc"), slot(&recipe, "clang"));
    let kasan = Recipe { fragments: vec!["kasan.config".into()], ..recipe.clone() };
    assert_ne!(slot(&recipe, "gcc"), slot(&kasan, "gcc"));
}

#[test]
fn a_missing_fragment_is_named() {
    let recipe = Recipe { series: Patches::None, ..standard("/nowhere") };
    let error = recipe.load().map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("/nowhere/kernel-patches/config/base.config"), "{error}");
}
