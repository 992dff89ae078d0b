//! What was handed in is made buildable in processes of their own ([`jail::reader`]): whoever wrote it may have made it to take all time and
//! all memory that there is to read it, and all that ends then is the grading of that.

use crate::{
    assignment::Rules,
    intake::{Files, Wrong},
    source::{
        Prepared, module,
        patches::{self, Handed},
        tree::{Changed, Tree},
    },
    stand_in::Asked,
    syscall::{self, Base, HandedIn, Submission},
};
use jail::reader::{Answers, Reader, Unread, answers};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    fs::File,
    path::{Component, Path},
};

/// All of them.
pub static READERS: [&Reader; 6] = [&MODULE, &PATCHES, &CALL_ASKS, &CALL, &TREE_ASKS, &TREE];

static MODULE: Reader = reader("source-module", |_| {
    pure(|(rules, files, wanted, asked): (Rules, Files, Option<String>, Asked)| {
        module::prepare(&rules, &files, wanted.as_deref(), &asked)
    })
});
static PATCHES: Reader =
    reader("source-patches", |_| pure(|(rules, files): (Rules, Files)| patches::prepare(&rules, &files)));
static CALL_ASKS: Reader = reader("source-call-asks", |_| {
    pure(|(rules, files, base): (Rules, Files, Base)| Ok(Submission::read(&rules, &files, &base)?.asked()))
});
static CALL: Reader = reader("source-call", |_| {
    pure(|(rules, files, base, originals): (Rules, Files, Base, BTreeMap<String, String>)| {
        syscall::prepare(&rules, Submission::read(&rules, &files, &base)?, &base, &originals)
    })
});
static TREE_ASKS: Reader = reader("source-tree-asks", |_| {
    pure(|(rules, files): (Rules, Files)| {
        let tree = Tree::of(&rules, &files);
        Ok((tree.asked().to_vec(), tree.notes))
    })
});
static TREE: Reader = reader("source-tree", |_| {
    pure(|(rules, files, originals): (Rules, Files, Vec<Option<String>>)| {
        Tree::of(&rules, &files).changed(&originals)
    })
});

const fn reader(name: &'static str, open: fn(Option<File>) -> Answers) -> Reader {
    Reader { name, memory: 2 << 30, open }
}

/// Answers with what is made of a question alone.
fn pure<Q: DeserializeOwned + 'static, A: Serialize + 'static>(make: fn(Q) -> Result<A, String>) -> Answers {
    answers(move |question: Q, _| (make(question), Vec::new()))
}

/// As [`module::prepare`].
///
/// # Errors
/// As there, or it can't be read.
pub fn module(rules: &Rules, files: &Files, wanted: Option<&str>, asked: &Asked) -> Result<Prepared, Wrong> {
    let prepared: Prepared = ask(&MODULE, &(rules, files, wanted, asked))?;
    let root = Some(&prepared.root).filter(|root| !root.is_empty());
    stay(prepared.files.keys().chain(root))?;
    Ok(prepared)
}

/// As [`patches::prepare`].
///
/// # Errors
/// As there, or it can't be read.
pub fn patches(rules: &Rules, files: &Files) -> Result<Handed, Wrong> {
    let handed: Handed = ask(&PATCHES, &(rules, files))?;
    stay(handed.patches.keys())?;
    match handed.order.iter().all(|name| handed.patches.contains_key(name)) {
        true => Ok(handed),
        false => Err(nonsense()),
    }
}

/// The files of the kernel's source that system calls were handed in with, or may have been.
///
/// # Errors
/// As for [`Submission::read`], or it can't be read.
pub fn call_asks(rules: &Rules, files: &Files, base: &Base) -> Result<Vec<String>, Wrong> {
    let asked: Vec<String> = ask(&CALL_ASKS, &(rules, files, base))?;
    stay(asked.iter())?;
    Ok(asked)
}

/// As [`syscall::prepare`].
///
/// # Errors
/// As there, or it can't be read.
pub fn call(
    rules: &Rules,
    files: &Files,
    base: &Base,
    originals: &BTreeMap<String, String>,
) -> Result<HandedIn, Wrong> {
    let handed_in: HandedIn = ask(&CALL, &(rules, files, base, originals))?;
    stay(handed_in.files.keys())?;
    Ok(handed_in)
}

/// The files of the kernel's source that have to be looked at, and what should be known: of [`Tree::of`].
///
/// # Errors
/// It can't be read.
pub fn tree_asks(rules: &Rules, files: &Files) -> Result<(Vec<String>, Vec<String>), Wrong> {
    let (asked, notes): (Vec<String>, Vec<String>) = ask(&TREE_ASKS, &(rules, files))?;
    stay(asked.iter())?;
    Ok((asked, notes))
}

/// As [`Tree::changed`].
///
/// # Errors
/// As there, or it can't be read.
pub fn tree(rules: &Rules, files: &Files, originals: &[Option<String>]) -> Result<Changed, Wrong> {
    ask(&TREE, &(rules, files, originals))
}

fn ask<A: DeserializeOwned>(reader: &Reader, question: &impl Serialize) -> Result<A, Wrong> {
    match reader.ask::<_, Result<A, String>>(question, &[]) {
        Ok((answer, _)) => Ok(answer?),
        Err(error) => Err(unread(&error)),
    }
}

/// What ends its reader is the fault of whoever wrote it.
fn unread(error: &Unread) -> Wrong {
    match error {
        Unread::Machine(_) => Wrong::ours(format!("the source can't be read: {error}")),
        Unread::Ended(_) => format!("the source can't be read: {error}").into(),
    }
}

fn nonsense() -> Wrong {
    unread(&Unread::Ended("answered nonsense".to_owned()))
}

/// Hostile source may have made anything of the process that answered: names have to stay where they are put.
fn stay<'a>(mut names: impl Iterator<Item = &'a String>) -> Result<(), Wrong> {
    let stays = |name: &String| {
        !name.is_empty()
            && !name.contains(char::is_control)
            && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
    };
    match names.all(stays) {
        true => Ok(()),
        false => Err(nonsense()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assignment::Assignment;
    use std::{ffi::OsStr, fs, io, os::unix::ffi::OsStrExt};

    fn rules(text: &str) -> Rules {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("t.yaml"), "steps: [{sleep: 1 s}]").unwrap();
        let path = folder.path().join("a.yaml");
        fs::write(&path, format!("{text}\ntests: [{{scenario: t.yaml, points: 1}}]\n")).unwrap();
        Assignment::load(&path).unwrap().rules()
    }

    fn files(all: &[(&str, &str)]) -> Files {
        let files = all.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
        Files { files, notes: Vec::new() }
    }

    #[test]
    fn what_is_made_apart_is_what_is_made_here() {
        let of_module = rules("kind: module\npenalties: {license: 1}");
        // A teacher's folder need not have a name that is text.
        let before = [vec![Path::new(OsStr::from_bytes(b"/caf\xe9/api")).to_owned()]].into();
        let asked = Asked { before, ..Asked::default() };
        let main = files(&[("s/drv.c", "module_init(a);\n")]);
        let here = module::prepare(&of_module, &main, None, &asked).unwrap();
        assert_eq!(module(&of_module, &main, None, &asked).unwrap(), here);
        assert!(here.license_mended && here.root == "s");

        let diff = "--- a/kernel/sys.c\n+++ b/kernel/sys.c\n@@ -1 +1 @@\n-a\n+b\n";
        let handed = patches(&rules("kind: patch"), &files(&[("2.patch", diff), ("1.patch", diff)])).unwrap();
        assert_eq!(handed.order, ["1.patch", "2.patch"]);

        let of_calls = rules("kind: syscall\ncalls: {mine: {number: 600}}");
        let call_of = files(&[("mine.c", "SYSCALL_DEFINE0(mine)\n{\n\treturn 0;\n}\n")]);
        let base = Base::with(&["read"]);
        assert!(call_asks(&of_calls, &call_of, &base).unwrap().contains(&"kernel/mine.c".to_owned()));
        assert!(call(&of_calls, &call_of, &base, &BTreeMap::new()).unwrap().files.contains_key("mine.c"));

        let (of_files, changed) = (rules("kind: kernel"), files(&[("kernel/sys.c", "b\n")]));
        let (asked, _) = tree_asks(&of_files, &changed).unwrap();
        let originals: Vec<_> =
            asked.iter().map(|it| (it == "kernel/sys.c").then(|| "a\n".to_owned())).collect();
        assert!(tree(&of_files, &changed, &originals).unwrap().patch.contains("+b"));
    }

    #[test]
    fn what_ends_its_reader_is_who_wrote_its_fault_and_no_process_is_ours() {
        let ended = unread(&Unread::Ended("took longer than 120 seconds".to_owned()));
        assert!(
            ended.is_theirs && ended.why.contains("can't be read: its reader took longer than 120 seconds")
        );
        assert!(!unread(&Unread::Machine(io::ErrorKind::OutOfMemory.into())).is_theirs);
        assert!(module(&rules("kind: module"), &files(&[]), None, &Asked::default()).unwrap_err().is_theirs);
    }

    #[test]
    fn names_that_a_reader_answers_stay_where_they_are_put() {
        let stays = |name: &str| stay([name.to_owned()].iter()).is_ok();
        for name in ["a.c", "a/b.c", "linux/ä.h"] {
            assert!(stays(name), "{name}");
        }
        for name in ["", "/etc/passwd", "../a.c", "a/../../b", "a\n+b", "./a"] {
            assert!(!stays(name), "{name}");
        }
    }
}
