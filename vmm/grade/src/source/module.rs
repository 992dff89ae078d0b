//! A loadable module: where it is in the submission, what it is called, and a makefile for it.

use super::{
    Prepared, c,
    makefile::{MAKEFILES, Makefile, makefile_of, makefiles, told, whole},
    rust, tidy,
};
use crate::{assignment::Rules, intake::Files, stand_in::Asked};
use base::module::is_same_module;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// Finds the module, or the modules that the tests name beside it. `wanted` is its name where the assignment's table gives one.
///
/// # Errors
/// Why nobody can build it, for the student's eyes.
pub fn prepare(
    rules: &Rules,
    files: &Files,
    wanted: Option<&str>,
    asked: &Asked,
) -> Result<Prepared, String> {
    let (mut kept, mut notes) = tidy(files, &rules.files);
    if kept.keys().any(|path| path == "MAINTAINERS" || path.ends_with("/kernel/sched/core.c")) {
        return Err("this is a whole kernel tree; hand in only the files that you wrote".to_owned());
    }
    lower_case(&mut kept, &mut notes);
    let mains = mains(&kept, files)?;
    let makefiles = makefiles(&kept)?;
    let told = told(&makefiles);
    // The assignment's own makefile comes to lie beside the main file, whatever the student's say.
    let replaced = rules.teacher.iter().any(|(name, _)| MAKEFILES.contains(&&**name));
    let choices = choices(&makefiles, &mains, &told, replaced);
    let chosen = choose(&choices, &mains, &told, wanted, asked)?;
    let Choice { root, module, named, main } = chosen[0].clone();
    let begins = |path: &str| chosen.iter().any(|choice| choice.main == path);
    let others: Vec<&str> =
        mains.iter().map(|(path, _)| &**path).filter(|path| !begins(path) && !told.contains(*path)).collect();
    if wanted.is_none() && !others.is_empty() {
        let why = match told.contains(&main) {
            true => "the makefile builds",
            false if are_same(&mains, others.iter().chain([&&*main]).copied()) => "they are the same as",
            false => "the tests load",
        };
        notes.push(format!("left out: {}; {why} {main}", others.join(", ")));
    }
    let prefix = if root.is_empty() { String::new() } else { format!("{root}/") };
    let teacher: Vec<(String, String)> =
        rules.teacher.iter().map(|(name, text)| (name.clone(), text.replace("${module}", &module))).collect();
    for (name, text) in &teacher {
        if MAKEFILES.contains(&&**name) {
            // Only an author's own make reads GNUmakefile, and hands on what it says.
            for other in ["Kbuild", "Makefile", "GNUmakefile", "makefile"] {
                let own = kept.remove(&format!("{prefix}{other}"));
                let same = |own: &Vec<u8>| {
                    String::from_utf8_lossy(own).split_whitespace().eq(text.split_whitespace())
                };
                if own.is_some_and(|own| !same(&own)) {
                    notes.push(format!(
                        "{prefix}{other} is not used: the assignment's {name} takes its place, and builds {}",
                        main.rsplit('/').next().unwrap_or(&main)
                    ));
                }
            }
        }
        kept.insert(format!("{prefix}{name}"), text.clone().into_bytes());
    }
    // One whose names only make knows is left to make.
    let of_root = MAKEFILES.iter().map(|name| format!("{prefix}{name}")).find(|path| kept.contains_key(path));
    let of_root = of_root.map_or(String::new(), |path| whole(&kept, &path));
    let names_one = of_root.lines().any(|line| line.trim_start().starts_with("obj-m"));
    let named = named || (names_one && Makefile::read(&of_root).objects().is_empty());
    if !named && !MAKEFILES.iter().any(|name| teacher.iter().any(|(other, _)| other == name)) {
        let objects: Vec<String> = chosen.iter().map(|choice| format!("{}.o", choice.module)).collect();
        let line = format!("obj-m := {}", objects.join(" "));
        notes.push(format!("no makefile names a module, so one is taken that says `{line}`"));
        kept.insert(format!("{prefix}Kbuild"), format!("{line}\n").into_bytes());
    }
    // What another module, or another version of this one, says of itself is of no interest.
    let counts =
        |path: &str| begins(path) || !mains.iter().any(|(other, _)| other == path) || told.contains(path);
    let mut sources: Vec<(&String, String)> = kept
        .iter()
        .filter(|(path, _)| path.starts_with(&prefix) && (is_source(path) || path.ends_with(".h")))
        .filter(|(path, _)| counts(path))
        .map(|(path, bytes)| (path, c::strip(&String::from_utf8_lossy(bytes))))
        // A program that tries the module out says nothing of it.
        .filter(|(path, text)| begins(path) || !c::is_program(text))
        .collect();
    // What the main file says goes before.
    sources.sort_by_key(|(path, _)| **path != main);
    let below: Vec<String> = sources.into_iter().map(|(_, text)| text).collect();
    let text = c::compiled(&below.join("\n"));
    // Of several modules each needs one. In Rust the compiler wants it.
    let own = |main: &str| mains.iter().find(|(path, _)| path == main).map_or("", |(_, own)| own);
    let lacks = |choice: &&&Choice| {
        let said = if chosen.len() == 1 { &text } else { own(&choice.main) };
        !rust::is_rust(&choice.main) && !c::has_license(said)
    };
    let lacking = chosen.iter().filter(lacks).filter(|_| rules.mends_license);
    let mut license_mended = false;
    for Choice { main, .. } in lacking {
        kept.entry(main.clone()).or_default().extend(b"\nMODULE_LICENSE(\"GPL\");\n");
        notes.push(format!("{main} has no MODULE_LICENSE; MODULE_LICENSE(\"GPL\") is put at its end"));
        license_mended = true;
    }
    Ok(Prepared { files: kept, root, module, text, license_mended, notes })
}

/// A module that the submission may be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Choice {
    root: String,
    module: String,
    /// A makefile says so.
    named: bool,
    /// The file by which it begins.
    main: String,
}

/// The one that is meant, and behind it those of its folder that the tests name as well.
fn choose<'a>(
    choices: &'a [Choice],
    mains: &[(String, String)],
    told: &BTreeSet<String>,
    wanted: Option<&str>,
    asked: &Asked,
) -> Result<Vec<&'a Choice>, String> {
    let by_makefile: Vec<&Choice> = choices.iter().filter(|choice| told.contains(&choice.main)).collect();
    let all: Vec<&Choice> =
        if by_makefile.is_empty() { choices.iter().collect() } else { by_makefile.clone() };
    let with_asked = |root: &str, one: Option<&'a Choice>| -> Vec<&'a Choice> {
        let others = all.iter().filter(|it| it.root == root && asked.has(&it.module) && Some(**it) != one);
        one.into_iter().chain(others.copied()).collect()
    };
    if let Some(wanted) = wanted {
        let named: Vec<&Choice> =
            choices.iter().filter(|choice| is_same_module(&choice.module, wanted)).collect();
        // Of versions in several folders, the one that a makefile names.
        let one = named.iter().find(|choice| told.contains(&choice.main)).or(named.first()).copied();
        return one
            .map(|one| with_asked(&one.root, Some(one)))
            .ok_or_else(|| format!("there is no module named {wanted} in it, but {}", listed(choices)));
    }
    // The folder with most of those that the tests name; of equals the outer one.
    let roots = all.iter().map(|it| &*it.root).filter(|root| !with_asked(root, None).is_empty());
    let root = roots.min_by_key(|root| (Reverse(with_asked(root, None).len()), root.len()));
    if let Some(root) = root {
        // They may also load one by whatever name it has, which no copy of one that they name is.
        let named = with_asked(root, None);
        let is_copy = |it: &Choice| named.iter().any(|other| are_same(mains, [&*it.main, &*other.main]));
        let free: Vec<&Choice> = all.iter().filter(|it| it.root == root && !is_copy(it)).copied().collect();
        let one = if asked.any && !free.is_empty() { Some(only(&free, mains, told)?) } else { None };
        return Ok(with_asked(root, one));
    }
    Ok(vec![only(&all, mains, told)?])
}

/// The one that is meant of those that may be, of which makefiles name all or none.
fn only<'a>(
    choices: &[&'a Choice],
    mains: &[(String, String)],
    told: &BTreeSet<String>,
) -> Result<&'a Choice, String> {
    if let [one] = choices {
        return Ok(one);
    }
    if choices.iter().any(|choice| told.contains(&choice.main)) {
        return Err(format!(
            "there are several modules in it, and makefiles build all of them: {}; hand in one (or the assignment's tests or its table say which)",
            listed(choices.iter().copied())
        ));
    }
    // A copy of itself beside it, of which the outer one with the shortest name is the first.
    let first = choices.iter().min_by_key(|it| (it.main.matches('/').count(), it.main.len()));
    let paths: Vec<&str> = choices.iter().map(|choice| &*choice.main).collect();
    first.filter(|_| are_same(mains, paths.iter().copied())).copied().ok_or_else(|| {
        format!(
            "there are several modules in it: {}; no makefile says which is meant (like `obj-m := {}.o`): hand in one, or such a makefile (or the \
             assignment's table says which)",
            paths.join(", "),
            choices.first().map_or("", |choice| &choice.module)
        )
    })
}

/// Whether these main files have one text.
fn are_same<'a>(mains: &[(String, String)], paths: impl IntoIterator<Item = &'a str>) -> bool {
    let mut paths = paths.into_iter();
    let text = |path: &str| mains.iter().find(|(other, _)| other == path).map(|(_, text)| text);
    let first = paths.next().and_then(text);
    paths.all(|path| text(path) == first)
}

fn listed<'a>(choices: impl IntoIterator<Item = &'a Choice>) -> String {
    let names: Vec<String> = choices
        .into_iter()
        .map(
            |Choice { root, module, .. }| {
                if root.is_empty() { module.clone() } else { format!("{root}/{module}") }
            },
        )
        .collect();
    names.join(", ")
}

/// `makefile` is one that only an author's own make reads.
fn lower_case(kept: &mut BTreeMap<String, Vec<u8>>, notes: &mut Vec<String>) {
    let folder = |path: &str| path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let lower: Vec<String> = kept
        .keys()
        .filter(|path| ["makefile", "GNUmakefile"].contains(&path.rsplit('/').next().unwrap_or(path)))
        .cloned()
        .collect();
    for path in lower {
        let proper = format!("{}Makefile", folder(&path));
        if !kept.contains_key(&proper)
            && let Some(bytes) = kept.remove(&path)
        {
            notes.push(format!("{path} is taken as {proper}"));
            kept.insert(proper, bytes);
        }
    }
}

fn is_source(path: &str) -> bool {
    path.ends_with(".c") || rust::is_rust(path)
}

/// The files by which modules begin, and their text without comments.
fn mains(kept: &BTreeMap<String, Vec<u8>>, files: &Files) -> Result<Vec<(String, String)>, String> {
    let sources: Vec<(&String, &Vec<u8>)> = kept.iter().filter(|(path, _)| is_source(path)).collect();
    if sources.is_empty() {
        let binary = files.files.keys().find(|path| path.ends_with(".ko") || path.ends_with(".o"));
        return Err(match binary {
            Some(binary) => format!("{binary} is a built module; hand in the source that it was built from"),
            None => {
                let names: Vec<&str> = files.files.keys().take(5).map(String::as_str).collect();
                match names.is_empty() {
                    true => "there is no source in it, in C or in Rust".to_owned(),
                    false => format!("there is no source in it, in C or in Rust, only {}", names.join(", ")),
                }
            }
        });
    }
    for (path, bytes) in &sources {
        if bytes.contains(&0) {
            let what = match bytes {
                bytes if bytes.starts_with(b"\x7fELF") => "it is a program or an object",
                bytes if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") => {
                    "it is UTF-16; save it as UTF-8"
                }
                _ => "it has bytes that are zero",
            };
            return Err(format!("{path} is not text: {what}"));
        }
    }
    let text = |(path, bytes): (&String, &Vec<u8>)| (path.clone(), c::strip(&String::from_utf8_lossy(bytes)));
    let is_main = |(path, text): &(String, String)| match rust::is_rust(path) {
        true => rust::is_main(text),
        false => c::is_main(text),
    };
    let mains: Vec<(String, String)> = sources.iter().map(|it| text(*it)).filter(is_main).collect();
    if mains.is_empty() {
        let names: Vec<&str> = sources.iter().take(5).map(|(path, _)| path.as_str()).collect();
        return Err(format!(
            "no file is a module: none of {} has module_init or init_module, or in Rust `module!`",
            names.join(", ")
        ));
    }
    Ok(mains)
}

/// What makefiles name, and where they name nothing, or are not the student's to write, the main files themselves.
fn choices(
    makefiles: &BTreeMap<String, Makefile>,
    mains: &[(String, String)],
    told: &BTreeSet<String>,
    replaced: bool,
) -> Vec<Choice> {
    let mut choices: Vec<Choice> = Vec::new();
    // Of several files of one module, the one that its makefile names.
    let (first, later): (Vec<&(String, String)>, Vec<_>) =
        mains.iter().partition(|(path, _)| told.contains(path));
    for (path, _) in first.into_iter().chain(later) {
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
        let stem = super::stem(file).to_owned();
        let (root, makefile) = match makefile_of(makefiles, path) {
            Some((root, makefile)) if !replaced => (root, Some(makefile)),
            outer => (folder.to_owned(), outer.map(|(_, makefile)| makefile)),
        };
        let named = makefile.map(Makefile::objects).unwrap_or_default();
        let inside = super::stem(path.strip_prefix(&root).unwrap_or(path).trim_start_matches('/')).to_owned();
        let is_part = |module: &&String| makefile.is_some_and(|it| it.parts(module).contains(&inside));
        // A module of several files has another name than its main file.
        let module = match &named[..] {
            [one] if !replaced => one.clone(),
            several if !replaced => several.iter().find(is_part).cloned().unwrap_or(stem),
            _ => stem,
        };
        if !choices.iter().any(|other| other.root == root && other.module == module) {
            let named = named.contains(&module);
            choices.push(Choice { root, named, module, main: path.clone() });
        }
    }
    choices
}

#[cfg(test)]
#[path = "module_test.rs"]
mod tests;
