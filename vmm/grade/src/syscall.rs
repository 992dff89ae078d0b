//! System calls as they are handed in: a `.c` file, and copies or diffs of the kernel's tables and makefile, made against the
//! kernel of the course, which is an old one. What was *added* is taken; what is wrong with it is told before anything is built.
//!
//! The assignment's kernel has the numbers and names already ([`Base`]), so that no table and no header changes from student to student: only what
//! they wrote is compiled, and the kernel linked.

mod added;
mod base;
mod functions;
mod items;
mod makefile;
mod within;

pub use base::{Base, PLACE};

use crate::{
    assignment::{Kind, OldStyle, Rules, Slot},
    intake::Files,
    source::tidy,
};
use added::Added;
use functions::{Function, Style};
use regex::Regex;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

/// What is put into the kernel.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct HandedIn {
    /// Files for the folder, among them its makefile.
    pub files: BTreeMap<String, Vec<u8>>,
    /// All C source, without comments.
    pub text: String,
    /// What was chosen, mapped or wrapped.
    pub notes: Vec<String>,
    /// What only code in a file of the kernel's can use, where something was taken out of that.
    pub statics: BTreeSet<String>,
}

impl HandedIn {
    /// What compilers' errors don't say: that a function was taken out of its file, and misses what only that file has.
    pub fn explains(&self, errors: &str) -> Option<String> {
        let quoted =
            |name: &&String| ["‘", "'", "`"].iter().any(|quote| errors.contains(&format!("{quote}{name}")));
        let missed: Vec<&str> = self.statics.iter().filter(quoted).map(String::as_str).collect();
        (!missed.is_empty()).then(|| {
            format!(
                "your function was taken out of the kernel's file, and uses what is static there: {}; only code in that file can use it",
                missed.join(", ")
            )
        })
    }
}

/// What was handed in, read; what of it is the kernel's own is not yet known.
pub struct Submission {
    added: Added,
    notes: Vec<String>,
}

impl Submission {
    /// Reads all files.
    ///
    /// # Errors
    /// What is wrong, for the student's eyes.
    pub fn read(rules: &Rules, files: &Files, base: &Base) -> Result<Self, String> {
        let (kept, notes) = tidy(files, &rules.files);
        let added = Added::read(&kept, &crate::source::patches::series(files), base)?;
        Ok(Self { added, notes })
    }

    /// The files of the kernel's source that have to be looked at.
    pub fn asked(&self) -> Vec<String> {
        self.added.asked()
    }
}

/// The cheap checks, and what is to be compiled. `originals` are the kernel's files that were asked for.
///
/// # Errors
/// All that is wrong, a line each, for the student's eyes.
pub fn prepare(
    rules: &Rules,
    submission: Submission,
    base: &Base,
    originals: &BTreeMap<String, String>,
) -> Result<HandedIn, String> {
    let Kind::Syscall(slots, old) = &rules.kind else {
        return Err("this assignment is about modules".to_owned());
    };
    let Submission { mut added, mut notes } = submission;
    let calls: Vec<&str> = slots.iter().map(|slot| &*slot.name).collect();
    added.settle(originals, base, &calls)?;
    notes.append(&mut added.notes);
    let mut functions = functions::find(&added.sources);
    let mut wrong = Vec::new();
    let mut out = HandedIn::default();
    let mut objects: Vec<String> = Vec::new();
    for (path, text) in &added.sources {
        let name = path.rsplit('/').next().unwrap_or(path).to_owned();
        objects.push(format!("{}.o", name.trim_end_matches(".c")));
        out.text += &crate::source::strip(text);
        let text = added.with_types(text, &format!("{PLACE}{name}"));
        out.files.insert(name, text.into_bytes());
    }
    let mut folders = BTreeSet::new();
    for taken in std::mem::take(&mut added.taken) {
        objects.push(taken.name.replace(".c", ".o"));
        out.text += &crate::source::strip(&taken.text);
        folders.extend(
            taken.functions.iter().filter_map(|it| it.path.rsplit_once('/')).map(|it| it.0.to_owned()),
        );
        functions.extend(taken.functions);
        out.statics.extend(taken.statics);
        let text = added.with_types(&taken.text, &format!("{PLACE}{}", taken.name));
        out.files.insert(taken.name, text.into_bytes());
    }
    let asked: BTreeSet<String> =
        added.sources.values().chain(added.headers.values()).flat_map(|text| included(text)).collect();
    for (path, text) in &added.headers {
        let name = path.rsplit('/').next().unwrap_or(path);
        // It may have lain in a folder of the kernel's, by which it is named.
        let named = asked.iter().filter(|it| it.rsplit('/').next() == Some(name)).map(String::as_str);
        for name in named.chain([name]) {
            out.files.insert(name.to_owned(), text.clone().into_bytes());
        }
    }
    wrong.extend(added.faults(&functions));
    let mut glue = String::from("#include <linux/syscalls.h>\n#include <linux/linkage.h>\n");
    for slot in slots {
        let Some(function) = chosen(slot, &functions, slots.len() == 1) else {
            wrong.push(missing(slot, &functions));
            continue;
        };
        wrong.extend(prototype(slot, function));
        let entry = added.entries.iter().find(|entry| entry.function == function.name);
        if entry.is_none() && added.entries.is_empty() {
            notes.push(format!(
                "no entry of the table came with it: sys_{} has the number {} here",
                function.name, slot.number
            ));
        }
        if let Some(entry) = entry.filter(|entry| entry.number != slot.number) {
            notes.push(format!("number {} of your table is number {} here", entry.number, slot.number));
        }
        if function.name != slot.name {
            notes.push(format!("sys_{} is taken for the call {}", function.name, slot.name));
        }
        match (function.style, old) {
            (Style::Macro, _) if function.name == slot.name => {}
            (Style::Macro, _) => glue += &forward(&slot.name, &function.name),
            (Style::Old, OldStyle::Wrapped) => {
                notes.push(format!("sys_{} is written without SYSCALL_DEFINE, and was wrapped", function.name));
                glue += &wrapper(&slot.name, function);
            }
            (Style::Old, OldStyle::Refused) => wrong.push(format!(
                "{}:{}: sys_{} is written in the old style, which the kernel can't call; write `{}` instead of `{}`",
                function.path, function.line, function.name, function.macro_head(), function.head()
            )),
        }
    }
    if !wrong.is_empty() {
        return Err(wrong.join("\n"));
    }
    // They stand in a makefile.
    if let Some(name) = objects.iter().find(|name| crate::source::plain(name) != **name) {
        return Err(format!(
            "{name} can't be a file's name in the kernel; take letters, digits, `_`, `-` and `.`"
        ));
    }
    // A student's file may be called like it.
    let stem = (0..).map(|count| format!("vmm_glue{}", "_".repeat(count)));
    let mut stem = stem.filter(|stem| !out.files.contains_key(&format!("{stem}.c")));
    let stem = stem.next().unwrap_or_default();
    out.files.insert(format!("{stem}.c"), glue.into_bytes());
    objects.push(format!("{stem}.o"));
    // The prototypes stood in a header that is not taken; and whoever makes the kernel fall over should see the line.
    let more: String = folders.iter().map(|folder| format!(" -I$(srctree)/{folder}")).collect();
    let makefile = format!(
        "obj-y := {}\nccflags-y := -g -I$(srctree)/$(src){more} -Wno-missing-prototypes -Wno-missing-declarations\n",
        objects.join(" ")
    );
    out.files.insert("Makefile".to_owned(), makefile.into_bytes());
    out.notes = notes;
    Ok(out)
}

/// The headers that a file names, but for those outside of where headers are looked for.
fn included(text: &str) -> Vec<String> {
    static LINE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"(?m)^\s*#\s*include\s*[<"]([\w/.+-]+)[>"]"#).expect("a constant that tests use")
    });
    let inside = |name: &String| !name.starts_with('/') && !name.split('/').any(|it| it == ".." || it == ".");
    LINE.captures_iter(text).map(|found| found[1].to_owned()).filter(inside).collect()
}

/// The function that a student wrote for a call: of its name, or the only one for the only call.
fn chosen<'a>(slot: &Slot, functions: &'a [Function], only: bool) -> Option<&'a Function> {
    let named = functions.iter().find(|function| function.name == slot.name);
    named.or(match functions {
        [one] if only => Some(one),
        _ => None,
    })
}

fn missing(slot: &Slot, functions: &[Function]) -> String {
    let names: Vec<&str> = functions.iter().map(|function| &*function.name).collect();
    let count = slot.prototype.as_ref().map_or("N".to_owned(), |types| types.len().to_string());
    match names.is_empty() {
        true => format!(
            "there is no function for the call {}: write `SYSCALL_DEFINE{count}({}, ...)`",
            slot.name, slot.name
        ),
        false => format!("there is no function for the call {}, but for {}", slot.name, names.join(", ")),
    }
}

fn prototype(slot: &Slot, function: &Function) -> Option<String> {
    let wanted = slot.prototype.as_ref()?;
    let same = wanted.len() == function.params.len()
        && wanted
            .iter()
            .zip(&function.params)
            .all(|(wanted, (found, _))| functions::same_type(wanted, found));
    if same {
        return None;
    }
    let found: Vec<&str> = function.params.iter().map(|(kind, _)| &**kind).collect();
    Some(format!(
        "{}:{}: {} takes ({}), and should take ({})",
        function.path,
        function.line,
        function.name,
        found.join(", "),
        wanted.join(", ")
    ))
}

/// One name for the other: what the entry code calls gets its arguments in one struct.
fn forward(slot: &str, function: &str) -> String {
    format!(
        "asmlinkage long __x64_sys_{function}(const struct pt_regs *regs);\n\
         asmlinkage long __x64_sys_{slot}(const struct pt_regs *regs);\n\
         asmlinkage long __x64_sys_{slot}(const struct pt_regs *regs)\n{{\n\treturn __x64_sys_{function}(regs);\n}}\n"
    )
}

fn wrapper(slot: &str, function: &Function) -> String {
    let typed: Vec<String> = function.params.iter().map(|(kind, name)| format!("{kind} {name}")).collect();
    let macros: Vec<String> = function.params.iter().map(|(kind, name)| format!("{kind}, {name}")).collect();
    let names: Vec<&str> = function.params.iter().map(|(_, name)| &**name).collect();
    let comma = if macros.is_empty() { "" } else { ", " };
    let declared = if typed.is_empty() { "void".to_owned() } else { typed.join(", ") };
    format!(
        "asmlinkage long sys_{}({declared});\nSYSCALL_DEFINE{}({slot}{comma}{})\n{{\n\treturn sys_{}({});\n}}\n",
        function.name,
        macros.len(),
        macros.join(", "),
        function.name,
        names.join(", ")
    )
}

#[cfg(test)]
#[path = "syscall_test.rs"]
mod tests;
