//! The kernel that all students share: it has the assignment's numbers and names, and a folder for what they hand in.

use super::{HandedIn, added};
use crate::{assignment::Slot, source::tree::new_file};
use base::{text::plain, wanted::Wanted};
use harness::{
    Abort,
    kernel::{Patch, Sources},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

const TABLE: &str = "arch/x86/entry/syscalls/syscall_64.tbl";
const NOT_IMPLEMENTED: &str = "kernel/sys_ni.c";
const MAKEFILE: &str = "arch/x86/kernel/Makefile";
/// The folder, below `arch/x86/kernel`.
const FOLDER: &str = "handed_in";
/// The same from the source's top, as compilers name it.
pub const PLACE: &str = "arch/x86/kernel/handed_in/";

/// The kernel's source, as far as it has to be known.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Base {
    /// What is put on the source for everybody, in order.
    patches: Vec<Patch>,
    /// How it is built.
    recipe: Option<Vec<u8>>,
    /// The functions of all entries of the table, without `sys_`.
    known: BTreeSet<String>,
    /// All numbers of the table, and the names of their calls.
    numbers: BTreeMap<u32, String>,
}

impl Base {
    /// Reads it, and reserves the assignment's calls.
    ///
    /// # Errors
    /// The kernel is none that is built here, or it has one of the calls already.
    pub fn new(wanted: &Wanted, near: &Path, slots: &[Slot]) -> Result<Self, Abort> {
        let Sources { patches, recipe, files } =
            harness::kernel::sources(wanted, near, &[TABLE, NOT_IMPLEMENTED, MAKEFILE])?;
        let [Some(table), Some(not_implemented), Some(makefile)] = &files[..] else {
            let why = format!("{TABLE}, {NOT_IMPLEMENTED} or {MAKEFILE} is not in this kernel's source");
            return Err(Abort::input(why));
        };
        Self::of(patches, recipe, [table, not_implemented, makefile], slots).map_err(Abort::input)
    }

    /// The same from the source's files: the table, the calls that are not implemented, a makefile.
    pub(super) fn of(
        mut patches: Vec<Patch>,
        recipe: Option<Vec<u8>>,
        [table, not_implemented, makefile]: [&str; 3],
        slots: &[Slot],
    ) -> Result<Self, String> {
        let entries = added::entries(table);
        for slot in slots {
            let taken = entries.iter().find(|it| it.function == slot.name || it.number == slot.number);
            if let Some(taken) = taken {
                let (number, name) = (taken.number, &taken.function);
                let why = format!(
                    "the assignment asks for the call {} with the number {}, and its kernel has {number}, {name}",
                    slot.name, slot.number
                );
                return Err(why);
            }
        }
        let mut sorted: Vec<&Slot> = slots.iter().collect();
        // The script that reads the table wants it so.
        sorted.sort_by_key(|slot| slot.number);
        let lines: Vec<String> = sorted
            .iter()
            .map(|slot| format!("{}\t64\t{}\tsys_{}", slot.number, slot.name, slot.name))
            .collect();
        let stand_ins: Vec<String> =
            sorted.iter().map(|slot| format!("COND_SYSCALL({});", slot.name)).collect();
        let patch = [
            behind(TABLE, table, &lines),
            behind(NOT_IMPLEMENTED, not_implemented, &stand_ins),
            behind(MAKEFILE, makefile, &[format!("obj-y += {FOLDER}/")]),
        ];
        patches.push(("vmm-calls.patch".to_owned(), patch.concat().into_bytes()));
        let known = entries.into_iter().map(|entry| entry.function).collect();
        Ok(Self { patches, recipe, known, numbers: added::numbers(table) })
    }

    /// A kernel that has these functions, for tests.
    #[cfg(any(test, feature = "fuzz"))]
    pub fn with(known: &[&str]) -> Self {
        let known = known.iter().map(|it| (*it).to_owned());
        Self { known: known.collect(), ..Self::default() }
    }

    /// The same with these numbers and their names.
    #[cfg(test)]
    pub fn numbered(self, numbers: &[(u32, &str)]) -> Self {
        let numbers = numbers.iter().map(|(number, name)| (*number, (*name).to_owned())).collect();
        Self { numbers, ..self }
    }

    /// Whether the kernel has a function of this name.
    pub fn knows(&self, function: &str) -> bool {
        self.known.contains(function)
    }

    /// Whether a number has this name.
    pub fn has(&self, number: u32, name: &str) -> bool {
        self.owner(number) == Some(name)
    }

    /// The name of a number's call.
    pub fn owner(&self, number: u32) -> Option<&str> {
        self.numbers.get(&number).map(String::as_str)
    }

    /// Writes the series of patches by which a student's kernel is made; without one, the base's.
    ///
    /// # Errors
    /// It can't be written.
    pub fn series(&self, handed_in: Option<&HandedIn>, folder: &Path) -> Result<(), String> {
        let empty = HandedIn {
            files: [("Makefile".to_owned(), b"obj-y :=\n".to_vec())].into(),
            ..HandedIn::default()
        };
        let files = &handed_in.unwrap_or(&empty).files;
        let new: Vec<String> = files
            .iter()
            .map(|(name, bytes)| new_file(&format!("{PLACE}{name}"), &String::from_utf8_lossy(bytes)))
            .collect();
        let own = ("vmm-handed-in.patch".to_owned(), new.concat().into_bytes());
        let patches = self.patches.iter().cloned().chain([own]).collect();
        harness::kernel::folder(patches, self.recipe.clone()).into_iter().try_for_each(|(name, text)| {
            let path = folder.join(name);
            fs::write(&path, text)
                .map_err(|error| format!("can't write {}: {}", path.display(), plain(&error)))
        })
    }
}

/// A patch that puts lines at a file's end.
fn behind(path: &str, text: &str, lines: &[String]) -> String {
    const CONTEXT: usize = 3;
    let all: Vec<&str> = text.lines().collect();
    let context = &all[all.len().saturating_sub(CONTEXT)..];
    let begin = all.len() - context.len() + 1;
    let head = format!(
        "--- a/{path}\n+++ b/{path}\n@@ -{begin},{} +{begin},{} @@\n",
        context.len(),
        context.len() + lines.len()
    );
    let context = context.iter().map(|line| format!(" {line}\n"));
    head + &context.chain(lines.iter().map(|line| format!("+{line}\n"))).collect::<String>()
}
