//! What a folder's makefiles say beside `obj-m`: variables that an outer make hands to the kernel's build system, and
//! flags that it no longer reads.
//!
//! A makefile of a book is read twice: first by the make that its author starts, whose recipe starts the kernel's,
//! which then reads it again. Only the second is done here, so what the recipe gives it on its command line has to be
//! found out.

use base::cache::CacheError;
use jail::{Sandbox, intake};
use kernel::run;
use regex::Regex;
use std::{fs, path::Path, sync::LazyLock};

/// What make reads when it is told nothing, in its order.
const OUTER: [&str; 3] = ["GNUmakefile", "makefile", "Makefile"];
/// What we say ourselves.
const OURS: [&str; 16] = [
    "M",
    "SUBDIRS",
    "O",
    "KBUILD_OUTPUT",
    "KBUILD_EXTMOD",
    "KERNELRELEASE",
    "PWD",
    "ARCH",
    "CROSS_COMPILE",
    "CC",
    "LD",
    "LLVM",
    "HOSTCC",
    "V",
    "W",
    "INSTALL_MOD_PATH",
];
/// Stands before what make was to tell us.
const MARK: &str = "vmm-outer:";

/// The variables that an outer makefile gives the kernel's build system, as `NAME=value`.
///
/// No recipe of it runs: one may well load the module.
///
/// # Errors
/// make can't be started, or Ctrl-C.
pub fn outer_variables(
    folder: &Path,
    scratch: &Path,
    sandbox: &Sandbox,
    log: &Path,
) -> Result<Vec<String>, CacheError> {
    let Some(file) = OUTER.into_iter().find(|name| folder.join(name).is_file()) else {
        return Ok(Vec::new());
    };
    let text = intake::read_text(&folder.join(file)).unwrap_or_default();
    let Some(line) = inner_make(&text) else { return Ok(Vec::new()) };
    let wrapper = scratch.join("outer.mk");
    let path = folder.join(file);
    let asking =
        format!("include {}\n$(info {MARK}{line})\nvmm-nothing: ;\n.PHONY: vmm-nothing\n", path.display());
    fs::write(&wrapper, asking).map_err(CacheError::io("write", &wrapper))?;
    let mut make = run::boxed(sandbox, "make");
    make.args(["--no-print-directory", "-s", "-f"]).arg(&wrapper).arg("vmm-nothing").current_dir(folder);
    make.env("PWD", folder).env_remove("MAKEFLAGS").env_remove("KERNELRELEASE");
    let ran = run::run_in(sandbox, make, log, None, |_| ())?;
    let said = ran.lines.iter().find_map(|line| line.strip_prefix(MARK)).unwrap_or_default();
    Ok(assignments(said, folder))
}

/// The recipe line that starts the kernel's make with variables of its author's.
fn inner_make(text: &str) -> Option<String> {
    static STARTS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\s-C\s.*\b(?:M|SUBDIRS)=").expect("a constant that tests use"));
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().filter(|line| line.starts_with('\t') && STARTS.is_match(line));
    let mut lines = lines.map(|line| line.trim_start_matches(['\t', ' ', '@', '-', '+']));
    lines
        .find(|line| names(line).next().is_some() && !line.ends_with("clean"))
        .map(|line| line.replace("$$", "$$$$"))
}

/// The names on a line that are given a value and are not ours.
fn names(line: &str) -> impl Iterator<Item = &str> {
    let given = line.split_whitespace().filter_map(|word| word.split_once('=')).map(|(name, _)| name);
    given.filter(|name| is_name(name) && !OURS.contains(name))
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// The assignments in a command, as the shell would hand them on; what only the shell could know is left out.
fn assignments(command: &str, folder: &Path) -> Vec<String> {
    let here = folder.display().to_string();
    let command = ["`pwd`", "$(pwd)", "${PWD}", "$PWD"]
        .iter()
        .fold(command.to_owned(), |it, form| it.replace(form, &here));
    let words = shlex::split(&command).unwrap_or_default();
    let own = words.into_iter().take_while(|word| !matches!(&**word, "&&" | "||" | ";" | "|"));
    own.filter(|word| {
        word.split_once('=').is_some_and(|(name, value)| {
            is_name(name) && !OURS.contains(&name) && !value.contains(['`', '$'])
        })
    })
    .collect()
}

/// Adds what makes the compilers write down which line each instruction comes from, whatever the kernel was built with: an
/// oops in a module is told with the line of its author (Documentation/kbuild/kbuild.rst, "KCFLAGS" and "KRUSTFLAGS").
pub fn with_debug_info(mut variables: Vec<String>) -> Vec<String> {
    for (name, flag) in [("KCFLAGS", "-g"), ("KRUSTFLAGS", "-Cdebuginfo=1")] {
        // Of two flags the last one holds: the author's.
        match variables.iter_mut().find(|it| it.split_once('=').is_some_and(|(its, _)| its == name)) {
            Some(own) => own.insert_str(name.len() + 1, &format!("{flag} ")),
            None => variables.push(format!("{name}={flag}")),
        }
    }
    variables
}

/// Flags in a folder's makefiles that this kernel does not read, a line each. `shown` is the folder as people know it.
pub fn old_flags(folder: &Path, shown: &Path, release: &str) -> Vec<String> {
    /// The version that took them away, and what is read instead.
    const GONE: (u32, u32) = (6, 15);
    const FLAGS: [(&str, &str); 3] =
        [("EXTRA_CFLAGS", "ccflags-y"), ("EXTRA_AFLAGS", "asflags-y"), ("EXTRA_LDFLAGS", "ldflags-y")];
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    if (numbers.next(), numbers.next()) < (Some(GONE.0), Some(GONE.1)) {
        return Vec::new();
    }
    let mut lines = Vec::new();
    for name in ["Kbuild", "Makefile"] {
        let text = intake::read_text(&folder.join(name)).unwrap_or_default();
        for (index, line) in text.lines().enumerate() {
            let is_set = |(flag, _): &&(&str, &str)| {
                line.trim_start().strip_prefix(flag).is_some_and(|rest| {
                    rest.trim_start().trim_start_matches([':', '+', '?']).starts_with('=')
                })
            };
            if let Some((flag, instead)) = FLAGS.iter().find(is_set) {
                let place = shown.join(name);
                lines.push(format!(
                    "{}:{}: warning: {flag} is not read any more (changed in Linux 6.15); write {instead}",
                    place.display(),
                    index + 1
                ));
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::fixture::write;

    fn outer(makefile: &str) -> (tempfile::TempDir, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("mod");
        write(&source.join("Makefile"), makefile);
        let variables = {
            let sandbox = Sandbox::new(jail::Budget::MODULE).unwrap().write(folder.path());
            outer_variables(&source, folder.path(), &sandbox, &folder.path().join("log")).unwrap()
        };
        (folder, variables)
    }

    /// As the makefiles of "Linux Device Drivers" are.
    #[test]
    fn variables_of_an_outer_make_line_are_found() {
        let (folder, variables) = outer(
            "ifneq ($(KERNELRELEASE),)\nobj-m := a.o\nEXTRA_CFLAGS += -I$(LDDINC)\nelse\nKERNELDIR ?= /nowhere\n\
             PWD := $(shell pwd)\nmodules:\n\t@$(MAKE) -C $(KERNELDIR) M=$(PWD) LDDINC=$(PWD)/../include \\\n\
             \t\tKCFLAGS=\"-DA -DB\" modules && touch ran\n\ttouch ran\nendif\n",
        );
        let include = format!("LDDINC={}/mod/../include", folder.path().display());
        assert_eq!(variables, [include, "KCFLAGS=-DA -DB".to_owned()]);
        assert!(!folder.path().join("mod/ran").exists(), "a recipe ran");
    }

    #[test]
    fn the_shells_own_words_for_the_folder_are_known_and_others_left_out() {
        let (folder, variables) = outer(
            "all:\n\tmake -C /lib/modules/`uname -r`/build M=`pwd` INC=`pwd`/inc NOW=`date` modules\n\
             clean:\n\tmake -C /nowhere M=$(PWD) X=y clean\n",
        );
        assert_eq!(variables, [format!("INC={}/mod/inc", folder.path().display())]);
        let plain = "obj-m := a.o\nall:\n\tmake -C /lib/modules/$(shell uname -r)/build M=$(PWD) modules\n";
        assert!(outer(plain).1.is_empty());
    }

    #[test]
    fn debug_info_is_asked_for_beside_an_authors_own_flags() {
        let asked = |own: &[&str]| with_debug_info(own.iter().map(|&it| it.to_owned()).collect());
        assert_eq!(asked(&[]), ["KCFLAGS=-g", "KRUSTFLAGS=-Cdebuginfo=1"]);
        assert_eq!(
            asked(&["A=b", "KCFLAGS=-DA -DB"]),
            ["A=b", "KCFLAGS=-g -DA -DB", "KRUSTFLAGS=-Cdebuginfo=1"]
        );
    }

    #[test]
    fn flags_that_are_no_longer_read_are_told() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("Makefile"), "obj-m := a.o\n EXTRA_CFLAGS += -DX\nEXTRA_CFLAGS_MINE = 1\n");
        let told = |release| old_flags(folder.path(), Path::new("mods/a"), release);
        assert_eq!(
            told("7.3.4-vmm"),
            [
                "mods/a/Makefile:2: warning: EXTRA_CFLAGS is not read any more (changed in Linux 6.15); write ccflags-y"
            ]
        );
        assert!(told("6.12.117-vmm").is_empty() && told("6.14").is_empty() && !told("6.15-rc1").is_empty());
    }
}
