//! What a student put into a file that the kernel has: found, and taken out into a file of its own.

use super::{
    functions::{self, Function},
    items::{self, Item, Kind},
};
use crate::source::{
    diff::{Piece, Shown},
    strip,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Part of the functions of a kernel's file, in percent, by which a whole copy of it is known, whatever the copy's version.
const LIKE: usize = 25;

/// A file of the kernel's with a student's own in it.
#[derive(Debug)]
pub struct Within {
    place: String,
    /// Items of the student's file, each with its line there, counted from 1; and whether it is the student's.
    items: Vec<(Item, usize, bool)>,
    /// The kernel's own.
    kernels: Vec<Item>,
    /// Lines that a diff added, as far as they are no comments.
    added: Vec<(usize, String)>,
    /// It is a copy of another kernel's, whose headers may not be here.
    copied: bool,
}

/// What was taken out of it.
#[derive(Debug, Default)]
pub struct Taken {
    /// A file's name.
    pub name: String,
    /// Its content.
    pub text: String,
    /// The system calls in it.
    pub functions: Vec<Function>,
    /// What only code in the kernel's file can use.
    pub statics: BTreeSet<String>,
    /// What should be known.
    pub notes: Vec<String>,
}

/// Whether a path is a header's.
pub fn is_header(path: &str) -> bool {
    path.ends_with(".h")
}

impl Within {
    /// From a diff.
    pub fn of_diff(place: &str, shown: &Shown, original: &str) -> Self {
        let (mut all, mut added) = (Vec::new(), Vec::new());
        for piece in &shown.pieces {
            let text = strip(&whole_comments(piece));
            let is_added = |index: usize| piece.lines.get(index).is_some_and(|line| line.added);
            let lines: Vec<&str> = text.lines().collect();
            let says = |index: &usize| lines.get(*index).is_some_and(|line| !line.trim().is_empty());
            for item in items::items(&text) {
                let saying: Vec<usize> = item.lines.clone().filter(says).collect();
                let new = saying.iter().filter(|index| is_added(**index)).count();
                // A brace at its end may be an old one, as diffs like to have it.
                let own = new * 2 > saying.len();
                all.push((item.clone(), piece.start + item.lines.start, own));
            }
            let new = (0..lines.len()).filter(|index| is_added(*index) && says(index));
            added.extend(new.map(|index| (piece.start + index, lines[index].trim().to_owned())));
        }
        Self {
            place: place.to_owned(),
            items: all,
            kernels: items::items(&strip(original)),
            added,
            copied: false,
        }
    }

    /// From a whole copy, of whatever version; `None` for a file that is only called like the kernel's.
    pub fn of_copy(place: &str, text: &str, original: &str) -> Option<Self> {
        let kernels = items::items(&strip(original));
        // Headers have few functions.
        let tells = |item: &&Item| is_header(place) || item.kind == Kind::Function;
        let told = |all: &[Item]| -> BTreeSet<String> {
            all.iter().filter(tells).flat_map(|it| it.names.clone()).collect()
        };
        let mine = items::items(&strip(text));
        let (theirs, found) = (told(&kernels), told(&mine));
        let same = theirs.intersection(&found).count();
        if theirs.is_empty() || same * 100 < theirs.len() * LIKE {
            return None;
        }
        Some(Self::of_part(place, text, original))
    }

    /// From the lines of such a file that a student took down; all that the kernel's does not have is the student's.
    pub fn of_part(place: &str, text: &str, original: &str) -> Self {
        let kernels = items::items(&strip(original));
        let mine = items::items(&strip(text));
        let known: BTreeSet<&String> = kernels.iter().flat_map(|it| &it.names).collect();
        let own = |item: &Item| !item.names.iter().any(|name| known.contains(name));
        let all = mine.into_iter().map(|item| (item.clone(), item.lines.start + 1, own(&item))).collect();
        Self { place: place.to_owned(), items: all, kernels, added: Vec::new(), copied: true }
    }

    /// The student's types and macros in a header that code with these words needs, to stand in front of it.
    pub fn types(&self, words: &BTreeSet<&str>) -> String {
        let own: Vec<usize> = (0..self.items.len())
            .filter(|index| self.items[*index].2 && self.items[*index].0.is_pattern())
            .collect();
        let mut chosen: BTreeSet<usize> = BTreeSet::new();
        let mut known: BTreeSet<&str> = words.clone();
        loop {
            let needed = |index: &&usize| self.items[**index].0.names.iter().any(|it| known.contains(&**it));
            let new: Vec<usize> =
                own.iter().filter(|index| !chosen.contains(index)).filter(needed).copied().collect();
            if new.is_empty() {
                break;
            }
            known.extend(new.iter().flat_map(|index| items::words(&self.items[*index].0.text)));
            chosen.extend(new);
        }
        let text = chosen.iter().map(|index| {
            let (item, line, _) = &self.items[*index];
            let place = format!("#line {line} \"{}{}\"\n", super::PLACE, self.place);
            match item.names.first().filter(|_| item.kind == Kind::Macro) {
                Some(name) => format!("#ifndef {name}\n{place}{}\n#endif\n", item.text),
                None => format!("{place}{}\n", item.text),
            }
        });
        text.collect()
    }

    /// What a diff does to a header and no code can be given: a change of what the kernel has.
    pub fn changes(&self) -> Vec<String> {
        let own = (0..self.items.len()).filter(|index| self.items[*index].2).collect();
        let mut notes = Vec::new();
        self.left_out(&own, &mut notes);
        notes
    }

    /// Takes out the system calls that `wanted` says are the student's, with what else is in `used`; and what these need.
    pub fn take(&self, wanted: &dyn Fn(&str) -> bool, used: &BTreeSet<String>) -> Taken {
        let place = &self.place;
        let mut taken = Taken { name: place.replace('/', "_"), ..Taken::default() };
        let own =
            |item: &(Item, usize, bool)| item.2 && ![Kind::Include, Kind::Directive].contains(&item.0.kind);
        let is_call = |name: &str| {
            let name = name.strip_prefix("__x64_").unwrap_or(name);
            name.strip_prefix("sys_").is_some_and(wanted)
        };
        let mut chosen: BTreeSet<usize> = BTreeSet::new();
        for (index, item) in self.items.iter().enumerate().filter(|(_, item)| own(item)) {
            let of_use = |name: &String| is_call(name) || used.contains(name);
            if item.0.kind == Kind::Function && item.0.names.iter().any(of_use) {
                chosen.insert(index);
            }
        }
        let mut mine: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, (item, ..)) in self.items.iter().enumerate().filter(|(_, item)| own(item)) {
            item.names.iter().for_each(|name| mine.entry(name).or_default().push(index));
        }
        let mut theirs: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, item) in self.kernels.iter().enumerate() {
            item.names.iter().for_each(|name| theirs.entry(name).or_default().push(index));
        }
        let mut patterns: BTreeSet<usize> = BTreeSet::new();
        let mut open: VecDeque<String> =
            chosen.iter().map(|index| self.items[*index].0.text.clone()).collect();
        while let Some(text) = open.pop_front() {
            let words: BTreeSet<&str> = items::words(&text).collect();
            for index in words.iter().filter_map(|word| mine.get(word)).flatten() {
                if chosen.insert(*index) {
                    open.push_back(self.items[*index].0.text.clone());
                }
            }
            for index in words.iter().filter_map(|word| theirs.get(word)).flatten() {
                let item = &self.kernels[*index];
                if item.is_pattern() {
                    if patterns.insert(*index) {
                        open.push_back(item.text.clone());
                    }
                } else if item.is_static() {
                    taken.statics.extend(item.names.iter().cloned());
                }
            }
        }
        if chosen.is_empty() {
            if !self.added.is_empty() {
                taken.notes.push(format!("{place} is left out: no system call was added to it"));
            }
            return taken;
        }
        taken.notes.push(format!("what was added to {place} is taken out of it, into a file of its own"));
        let all = chosen.iter().map(|index| &self.items[*index]);
        for (item, line, _) in all.clone() {
            let found = functions::find(&[(place.clone(), item.text.clone())].into());
            taken.functions.extend(found.into_iter().map(|it| Function { line: it.line + line - 1, ..it }));
        }
        self.left_out(&chosen, &mut taken.notes);
        taken.text = self.includes();
        for index in patterns {
            let item = &self.kernels[index];
            let guard = item.names.first().filter(|_| item.kind == Kind::Macro);
            taken.text += &match guard {
                Some(name) => format!("#ifndef {name}\n{}\n#endif\n", item.text),
                None => format!("{}\n", item.text),
            };
        }
        for (item, line, _) in all {
            taken.text += &format!("#line {line} \"{}{place}\"\n{}\n", super::PLACE, item.text);
        }
        taken
    }

    /// All headers that the kernel's file has, and the student's.
    fn includes(&self) -> String {
        let kernels = self.kernels.iter().map(|item| (item, true));
        let mine = self.items.iter().map(|(item, _, own)| (item, !own || self.copied));
        let mut names = BTreeSet::new();
        // Whoever writes to the kernel's log uses it without naming it, and headers look whether it is there.
        let prefix = self.kernels.iter().find(|item| item.names.contains("pr_fmt"));
        let mut text = prefix.map_or(String::new(), |item| format!("{}\n", item.text));
        for (item, may_lack) in kernels.chain(mine).filter(|(item, _)| item.kind == Kind::Include) {
            let Some((_, name)) = item.text.split_once("include") else { continue };
            let name = name.trim();
            // Another file's code is that file's; and a header that makes code does so once.
            if name.trim_end_matches(['"', '>']).ends_with(".c")
                || name.contains("trace/events/")
                || !names.insert(name)
            {
                continue;
            }
            text += &match may_lack {
                true => format!("#if __has_include({name})\n#include {name}\n#endif\n"),
                false => format!("#include {name}\n"),
            };
        }
        text + "#include <linux/syscalls.h>\n"
    }

    /// Says which lines of a diff are not in what was chosen.
    fn left_out(&self, chosen: &BTreeSet<usize>, notes: &mut Vec<String>) {
        let includes = self.items.iter().filter(|it| it.0.kind == Kind::Include);
        let counted = chosen.iter().map(|index| &self.items[*index]).chain(includes);
        let taken: BTreeSet<usize> =
            counted.flat_map(|(item, start, _)| *start..start + item.lines.len()).collect();
        // Of a brace alone nobody knows whose it is.
        let says = |text: &str| text.chars().any(char::is_alphanumeric);
        let lost: Vec<&(usize, String)> =
            self.added.iter().filter(|(line, text)| says(text) && !taken.contains(line)).collect();
        if let Some((line, text)) = lost.first() {
            let more = if lost.len() > 1 { format!(" and {} more", lost.len() - 1) } else { String::new() };
            let text: String = text.chars().take(80).collect();
            notes.push(format!(
                "{}:{line}: `{text}`{more} is left out: only what a new system call needs is taken, and the kernel's own code stays as it is",
                self.place
            ));
        }
    }
}

/// A piece's text without the rest of a comment at its beginning, and without one that has no end.
fn whole_comments(piece: &Piece) -> String {
    let text: String = piece.lines.iter().map(|line| format!("{}\n", line.text)).collect();
    let blank = |text: &str| "\n".repeat(text.matches('\n').count());
    let text = match (text.find("*/"), text.find("/*")) {
        (Some(end), begin) if begin.is_none_or(|begin| end < begin) => {
            blank(&text[..end + 2]) + &text[end + 2..]
        }
        _ => text,
    };
    match (text.rfind("/*"), text.rfind("*/")) {
        (Some(begin), end) if end.is_none_or(|end| end < begin) => {
            text[..begin].to_owned() + &blank(&text[begin..])
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::diff::Patched;

    const KERNEL: &str = "#define pr_fmt(fmt) \"sys: \" fmt\n#include <linux/fs.h>\n#include \"uid16.h\"\n#include \"other.c\"\n\n#define LIMIT 5\nstatic int kernels;\n\
        long first(void)\n{\n\treturn kernels;\n}\nSYSCALL_DEFINE0(getpid)\n{\n\treturn first();\n}\nint last(void)\n{\n\treturn 0;\n}\n";

    fn taken(within: &Within) -> Taken {
        within.take(&|name| !["getpid"].contains(&name), &BTreeSet::from(["helps".to_owned()]))
    }

    #[test]
    fn what_a_diff_added_is_taken_out_with_what_it_needs() {
        let mut patched = Patched::default();
        // As diffs like it: the brace in front is new, and the one at the end old.
        let diff = "--- a/kernel/sys.c\n+++ b/kernel/sys.c\n@@ -2,2 +2,3 @@\n #include <linux/fs.h>\n+#include <linux/slab.h>\n #include \"uid16.h\"\n\
            @@ -9,6 +10,20 @@\n {\n+\tcount++;\n \treturn kernels;\n }\n+/* Mine.\n+ */\n+#define MINE 3\n+static long helper(long n)\n+{\n+\treturn n + LIMIT + MINE;\n+}\n \
            SYSCALL_DEFINE0(getpid)\n {\n \treturn first();\n+}\n+SYSCALL_DEFINE1(mine, int, a)\n+{\n+\tpr_info(\"x\");\n+\treturn helper(a) + kernels;\n }\n";
        patched.apply(diff).unwrap();
        let within = Within::of_diff("kernel/sys.c", &patched.files["kernel/sys.c"], KERNEL);
        let taken = taken(&within);
        let place = super::super::PLACE;
        let wanted = format!(
            "#define pr_fmt(fmt) \"sys: \" fmt\n#if __has_include(<linux/fs.h>)\n#include <linux/fs.h>\n#endif\n#if __has_include(\"uid16.h\")\n#include \"uid16.h\"\n#endif\n\
             #include <linux/slab.h>\n#include <linux/syscalls.h>\n#ifndef LIMIT\n#define LIMIT 5\n#endif\n\
             #line 16 \"{place}kernel/sys.c\"\n#define MINE 3\n#line 17 \"{place}kernel/sys.c\"\nstatic long helper(long n)\n{{\n\treturn n + LIMIT + MINE;\n}}\n\
             #line 25 \"{place}kernel/sys.c\"\nSYSCALL_DEFINE1(mine, int, a)\n{{\n\tpr_info(\"x\");\n\treturn helper(a) + kernels;\n}}\n"
        );
        assert_eq!(taken.text, wanted);
        assert_eq!((&*taken.name, taken.functions[0].line), ("kernel_sys.c", 25));
        assert_eq!(taken.statics, BTreeSet::from(["kernels".to_owned()]));
        assert!(taken.notes[1].starts_with("kernel/sys.c:11: `count++;` is left out"), "{:?}", taken.notes);
    }

    #[test]
    fn of_a_header_the_types_are_taken_that_code_needs() {
        let original = "#ifndef H\n#define H\nstruct a;\n#define OLD 1\nstruct b { int x; };\nlong sys_a(int);\nlong sys_b(int);\n#endif\n";
        let mine = "#define SIZE 8\nstruct inner { char name[SIZE]; };\nstruct mine { struct inner in; };\nstruct unused { int z; };\nlong sys_mine(struct mine *m);\n";
        let copy = original.replace("long sys_b", &format!("{mine}long sys_b"));
        let within = Within::of_copy("include/linux/syscalls.h", &copy, original).unwrap();
        let place = format!("{}include/linux/syscalls.h", super::super::PLACE);
        let wanted = format!(
            "#ifndef SIZE\n#line 7 \"{place}\"\n#define SIZE 8\n#endif\n#line 8 \"{place}\"\nstruct inner {{ char name[SIZE]; }};\n\
             #line 9 \"{place}\"\nstruct mine {{ struct inner in; }};\n"
        );
        assert_eq!(within.types(&["sizeof", "mine"].into()), wanted);
        assert_eq!(within.types(&["other"].into()), "");
        // A header that is only called like it.
        assert!(Within::of_copy("include/linux/syscalls.h", mine, original).is_none());
        let part = Within::of_part("include/linux/syscalls.h", mine, original);
        assert!(part.types(&["unused"].into()).ends_with("struct unused { int z; };\n"));

        let mut patched = Patched::default();
        let diff = "--- a/include/linux/syscalls.h\n+++ b/include/linux/syscalls.h\n@@ -3,3 +3,7 @@\n struct a;\n #define OLD 1\n-struct b { int x; };\n\
            +struct b { int x;\n+int more; };\n+struct mine {\n+\tint x;\n+};\n";
        patched.apply(diff).unwrap();
        let shown = &patched.files["include/linux/syscalls.h"];
        let within = Within::of_diff("include/linux/syscalls.h", shown, original);
        assert!(within.types(&["mine"].into()).contains("struct mine {\n\tint x;\n};"));
    }

    #[test]
    fn of_a_whole_copy_what_the_kernel_does_not_have_is_the_students() {
        let copy = KERNEL.replace("int last(void)", "int helps(void)\n{\n\treturn 1;\n}\nSYSCALL_DEFINE0(mine)\n{\n\treturn helps();\n}\nint last(void)");
        let within = Within::of_copy("kernel/sys.c", &copy, KERNEL).unwrap();
        let taken = taken(&within);
        assert!(
            taken.text.contains("int helps(void)") && taken.text.contains("SYSCALL_DEFINE0(mine)"),
            "{}",
            taken.text
        );
        assert!(!taken.text.contains("first") && !taken.text.contains("getpid"), "{}", taken.text);
        assert_eq!(taken.functions.len(), 1);
        // A student's own file of that name.
        assert!(Within::of_copy("kernel/sys.c", "SYSCALL_DEFINE0(mine)\n{\n}\n", KERNEL).is_none());
    }
}
