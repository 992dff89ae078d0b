//! Makefiles beside a system call: those that are the kernel's, and what they build.

use regex::Regex;
use std::sync::LazyLock;

/// Whether it is one, by its name.
pub fn is_one(name: &str) -> bool {
    ["Makefile", "Kbuild", "makefile", "GNUmakefile"].contains(&name)
}

/// Whether the kernel's build system would find a list of objects or folders in it. Other ones build programs that try a call out.
pub fn is_kernels(text: &str) -> bool {
    static LIST: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?m)^[ \t]*(?:obj|lib|core)-[\w$(){}]+[ \t]*[:+?]?=").expect("a constant that tests use")
    });
    LIST.is_match(text)
}

/// All objects that a makefile names, by whatever list and in whatever folder: of a diff only some lines are known.
pub fn objects(text: &str) -> Vec<String> {
    let lines =
        text.lines().map(|line| line.split('#').next().unwrap_or_default()).filter(|line| !is_command(line));
    let words = lines.flat_map(|line| line.split(|c: char| c.is_whitespace() || c == '='));
    let objects = words.filter(|word| word.ends_with(".o"));
    objects.map(|word| word.rsplit('/').next().unwrap_or(word).to_owned()).collect()
}

/// Whether a line is for a shell, which may well name objects that nobody builds. One that goes on with a list has nothing else in it.
fn is_command(line: &str) -> bool {
    let of_list = |word: &str| [".o", "/", "\\"].iter().any(|end| word.ends_with(end));
    line.starts_with('\t') && !line.split_whitespace().all(of_list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_is_told_builds_nothing_for_the_kernel() {
        let makefile = "obj-y += a.o b/c.o \\\n\td.o e.o\nclean:\n\trm -f x.o\n\tgcc -c y.c -o y.o\n";
        assert_eq!(objects(makefile), ["a.o", "c.o", "d.o", "e.o"]);
    }

    #[test]
    fn the_kernels_makefiles_are_told_from_others() {
        for text in [
            "obj-y += a.o",
            "# first\n obj-$(CONFIG_X) := a.o\n",
            "obj-m:=a.o",
            "lib-y = a.o",
            "core-y\t+= kernel/ mine/\n",
        ] {
            assert!(is_kernels(text), "{text}");
        }
        for text in ["test: test.o\n\tcc -o test test.o\n", "OBJ = a.o\n", "# obj-y += a.o\n", ""] {
            assert!(!is_kernels(text), "{text}");
        }
    }
}
