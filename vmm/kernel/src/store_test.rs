use super::*;
use crate::{Compiler, Ingredients};

/// A cache with kernels that were last used so many hours ago, each with a build folder.
fn setup(kernels: &[(&str, u64, &str)]) -> (tempfile::TempDir, Cache) {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(&folder.path().join("cache")).unwrap();
    for (hash, hours, slot) in kernels {
        let entry = cache.place(Kind::Kernel, hash);
        fs::create_dir_all(&entry).unwrap();
        fs::write(entry.join("kernel.json"), serde_json::to_vec(&manifest(slot)).unwrap()).unwrap();
        touch(&entry);
        let then = SystemTime::now() - Duration::from_secs(hours * 3600);
        fs::File::options().write(true).open(entry.join(USED)).unwrap().set_modified(then).unwrap();
        fs::create_dir_all(cache.work(slot).join("build")).unwrap();
    }
    (folder, cache)
}

fn manifest(slot: &str) -> Manifest {
    let facts = Facts {
        source: "linux".into(),
        version: "6.12.1".into(),
        compiler: Compiler::Gcc,
        steps: 1,
        seconds: 1,
        ingredients: Ingredients { slot: slot.to_owned(), ..Ingredients::default() },
    };
    Manifest { release: "6.12.1".into(), facts, announce: Default::default(), early: vec![] }
}

fn hashes(kernels: &[Stored]) -> Vec<&str> {
    kernels.iter().map(|it| it.hash.as_str()).collect()
}

const OLD: &str = "0000000000000000";
const NEW: &str = "1111111111111111";
const OTHER: &str = "2222222222222222";

#[test]
fn the_most_recently_used_kernel_comes_first_and_stays() {
    let (_folder, cache) = setup(&[(OLD, 50, "a"), (NEW, 1, "a"), (OTHER, 30, "b")]);
    assert_eq!(hashes(&list(&cache).unwrap()), [NEW, OTHER, OLD]);
    touch(&cache.place(Kind::Kernel, OLD));
    assert_eq!(hashes(&list(&cache).unwrap()), [OLD, NEW, OTHER]);
}

#[test]
fn a_rule_needs_a_limit_and_both_limits_must_hold() {
    let (_folder, cache) = setup(&[(OLD, 50, "a"), (NEW, 1, "a"), (OTHER, 30, "b")]);
    let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
    let chosen = |keep, older| {
        let chosen = Rule { keep, older }.choose(list(&cache).unwrap(), SystemTime::now());
        hashes(&chosen).iter().map(|hash| (*hash).to_owned()).collect::<Vec<_>>()
    };
    assert!(chosen(None, None).is_empty());
    assert_eq!(chosen(Some(1), None), [OTHER, OLD]);
    assert_eq!(chosen(None, hours(40)), [OLD]);
    assert_eq!(chosen(Some(2), hours(20)), [OLD]);
    assert_eq!(chosen(Some(0), None).len(), 3);
}

#[test]
fn a_build_folder_goes_with_the_last_kernel_that_was_made_in_it() {
    let (_folder, cache) = setup(&[(OLD, 50, "a"), (NEW, 1, "a"), (OTHER, 30, "b")]);
    let freed = plan(&cache, Rule { keep: Some(1), older: None }).unwrap();
    assert!(cache.place(Kind::Kernel, OLD).exists(), "a plan removes nothing");
    remove(&cache, &freed).unwrap();
    assert_eq!(cache.keys(Kind::Kernel).unwrap(), [NEW]);
    assert!(cache.work("a").exists(), "the newest kernel's own");
    assert!(!cache.work("b").exists());
    assert_eq!(fs::read_dir(cache.root().join("tmp")).unwrap().count(), 0);
}

#[test]
fn an_entry_that_names_a_folder_elsewhere_takes_nothing_with_it() {
    let (folder, cache) = setup(&[]);
    let elsewhere = folder.path().join("home");
    fs::create_dir_all(&elsewhere).unwrap();
    let slots = [elsewhere.to_str().unwrap(), "../../home", "..", ".", "a/../../../home", ""];
    for slot in slots {
        let (_folder, cache) = setup(&[]);
        let manifest = manifest(slot);
        let entry = cache.place(Kind::Kernel, OLD);
        fs::create_dir_all(&entry).unwrap();
        fs::create_dir_all(cache.root().parent().unwrap().join("home")).unwrap();
        fs::write(entry.join("kernel.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
        let freed = plan(&cache, Rule { keep: Some(0), older: None }).unwrap();
        assert!(freed.folders.is_empty(), "{slot}: {:?}", freed.folders);
        remove(&cache, &freed).unwrap();
        assert!(cache.keys(Kind::Kernel).unwrap().is_empty());
    }
    assert!(elsewhere.is_dir() && cache.root().is_dir());
}

#[test]
fn a_damaged_entry_is_listed_and_can_go() {
    let (_folder, cache) = setup(&[(OLD, 50, "a")]);
    fs::write(cache.place(Kind::Kernel, OLD).join("kernel.json"), "{").unwrap();
    let all = list(&cache).unwrap();
    assert_eq!((all[0].release.as_str(), all[0].facts.is_none()), ("", true));
    let hostile = Manifest { release: "6.1\u{1b}[2J".into(), ..manifest("a") };
    let text = serde_json::to_vec(&hostile).unwrap();
    fs::write(cache.place(Kind::Kernel, OLD).join("kernel.json"), text).unwrap();
    assert_eq!(list(&cache).unwrap()[0].release, "", "that is no release");
    remove(&cache, &plan(&cache, Rule { keep: Some(0), older: None }).unwrap()).unwrap();
    assert!(list(&cache).unwrap().is_empty());
}

#[test]
fn a_kernel_is_found_by_the_beginning_of_its_hash() {
    let (_folder, cache) = setup(&[(OLD, 50, "a"), (NEW, 1, "a")]);
    assert_eq!(find(&cache, "1111").unwrap().hash, NEW);
    assert!(find(&cache, "3333").unwrap_err().to_string().contains("vmm kernel list"));
}

#[test]
fn a_hash_that_was_not_built_is_told_from_one_that_is_too_short() {
    let (_folder, cache) = setup(&[("aaaa000000000000", 1, "a"), ("aaaa111111111111", 1, "a")]);
    assert_eq!(find(&cache, "aaaa0").unwrap().hash, "aaaa000000000000");
    let why = |hash: &str| find(&cache, hash).unwrap_err().to_string();
    assert!(why("bbbb").contains("vmm kernel build"), "{}", why("bbbb"));
    assert!(why("aaaa").contains("more digits"), "{}", why("aaaa"));
}
