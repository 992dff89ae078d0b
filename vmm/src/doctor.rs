//! `vmm doctor`: what this machine's hosts are like.

use crate::{
    cli::{DoctorArgs, Where},
    exit,
};
use base::cache::Cache;
use host::{emulated, emulated_intel, kvm};
use judge::Verdict;
use kernel::toolchain::{Purpose, Toolchain};
use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::Path,
};

/// Looks at the hosts that were asked for, prints what there is, and returns the exit code.
pub fn doctor(args: &DoctorArgs) -> u8 {
    let mut text = String::new();
    let mut sound = false;
    let cache = Cache::open();
    let emulator = cache.as_ref().map(|cache| cache.root().join("emulator"));
    let is_set_up = emulator.is_ok_and(|files| emulated::check(&files).is_ok());
    if matches!(args.host, Where::Auto | Where::Kvm) {
        let examination = kvm::examine();
        sound |= examination.is_sound();
        let verdict = if examination.is_sound() { "runs guests" } else { "does not run guests" };
        heading(&mut text, "this machine's KVM", verdict);
        for check in &examination.0 {
            let fix = check.fix.as_deref().map(|fix| advice(fix, is_set_up));
            line(&mut text, check.name, check.good, &check.found, fix.as_deref());
        }
        if examination.is_sound() && std::fs::read_to_string(HUGE).is_ok_and(|all| has_small_pages(&all)) {
            let fix = format!("`echo advise | sudo tee {HUGE}`");
            line(
                &mut text,
                "pages of guest memory",
                true,
                "have 4 KiB; guests boot slower by a third than in 2 MiB",
                Some(&fix),
            );
        }
    }
    let mut files_of = |name: &str, folder: &str, check: &dyn Fn(&Path) -> Result<(), String>| {
        let files = cache.as_ref().map(|cache| cache.root().join(folder)).map_err(|error| error.to_string());
        let found = files.and_then(|files| check(&files).map(|()| files));
        sound |= found.is_ok();
        heading(&mut text, name, if found.is_ok() { "is set up" } else { "is not set up" });
        match found {
            Ok(files) => line(&mut text, "its files", true, &format!("are in {}", files.display()), None),
            Err(why) => line(&mut text, "its files", false, &format!("failed to {why}"), None),
        }
    };
    if matches!(args.host, Where::Auto | Where::Emulated) {
        files_of("an emulated KVM", "emulator", &|files| {
            emulated::check(files).map_err(|error| error.to_string())
        });
    }
    if args.host == Where::EmulatedIntel {
        files_of("an emulated KVM on Intel", "intel", &|files| {
            emulated_intel::check(files).map_err(|error| error.to_string())
        });
    }
    match &cache {
        Ok(cache) => {
            let package = format!("linux-source-{}", kernel::wanted::DEFAULT_SERIES);
            built(&mut text, &Toolchain::purposes(cache), &kernel::origin(cache, &package));
        }
        Err(error) => {
            heading(&mut text, "the cache", "can't be used, and without it nothing runs");
            line(&mut text, "its folder", false, &format!("failed to {error}"), None);
            sound = false;
        }
    }
    // What is missing is a warning: --require-jail makes an error of it.
    let layers = jail::cell::layers();
    let lacking = layers.iter().filter(|layer| layer.lacks.is_some()).count();
    let verdict = match lacking {
        0 => "are all there".to_owned(),
        lacking => format!("are not complete ({lacking} of {} are missing)", layers.len()),
    };
    heading(&mut text, "layers around what others wrote", &verdict);
    for layer in &layers {
        let found = layer.lacks.as_deref().unwrap_or("confines what is built or run");
        line(&mut text, layer.name, layer.lacks.is_none(), found, None);
    }
    if !args.quiet {
        // A reader that has seen enough is no failure.
        let _ = io::stdout().write_all(text.as_bytes());
    }
    exit::code(if sound { Verdict::Pass } else { Verdict::Infra })
}

/// What builds are made of. Guests run without all of this; what is missing is missing for one purpose.
fn built(text: &mut String, purposes: &[Purpose], origin: &Result<String, String>) {
    let lacking = purposes.iter().filter(|purpose| !purpose.missing.is_empty()).count();
    let verdict = match lacking + usize::from(origin.is_err()) {
        0 => "is all there".to_owned(),
        lacking => format!("is not complete ({lacking} of {} lack something)", purposes.len() + 1),
    };
    heading(text, "what builds are made of", &verdict);
    for Purpose { name, missing } in purposes {
        let all = |of: fn(&(String, String)) -> &str| {
            let mut all: Vec<&str> = missing.iter().map(of).collect();
            all.dedup();
            all.join(", ")
        };
        let lacks = format!("lacks {}", all(|(program, _)| program));
        let found = if missing.is_empty() { "can be built, or are there" } else { &lacks };
        let fix = (!missing.is_empty()).then(|| format!("install {}", all(|(_, package)| package)));
        line(text, name, missing.is_empty(), found, fix.as_deref());
    }
    let (Ok(how) | Err(how)) = origin;
    let fix = origin.is_err().then_some(
        "put VMM_DEBIAN_MIRROR=https://MIRROR/debian into the environment, or name other sources: --source (docs/kernels.md)",
    );
    let found = format!("is built of Debian's sources, which {how}");
    line(text, "the default kernel", origin.is_ok(), &found, fix);
}

/// A fix that is there for the asking only where an emulated host is set up.
fn advice(fix: &str, is_set_up: bool) -> String {
    match fix.contains("--host emulated") && !is_set_up {
        true => format!("{fix}, which `./setup emulator` sets up (on Debian)"),
        false => fix.to_owned(),
    }
}

/// Whether memory that is shared by a file, as guests' is, has pages of 2 MiB (Linux Documentation/admin-guide/mm/transhuge.rst).
const HUGE: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

/// What is chosen stands in brackets, among all that could be.
fn has_small_pages(all: &str) -> bool {
    ["[never]", "[deny]"].iter().any(|small| all.contains(small))
}

fn heading(text: &mut String, name: &str, verdict: &str) {
    let _ = writeln!(text, "{name} {verdict}");
}

fn line(text: &mut String, name: &str, good: bool, found: &str, fix: Option<&str>) {
    let mark = if good { "ok " } else { "BAD" };
    // A longer name than usual is still a word apart.
    let _ = writeln!(text, "  {mark}  {name:<23} {found}");
    if let Some(fix) = fix {
        let _ = writeln!(text, "       {:<23} {fix}", "to mend it:");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_what_is_found_are_words_apart() {
        let mut text = String::new();
        line(&mut text, "kernels by clang (7.3)", true, "can be built", None);
        line(&mut text, "a name that is longer than any other", false, "lacks x", Some("install x"));
        assert!(text.contains("kernels by clang (7.3)  can be built\n"), "{text}");
        assert!(
            text.contains("than any other lacks x\n") && text.contains("to mend it:             install x"),
            "{text}"
        );
    }

    #[test]
    fn what_is_not_set_up_is_not_advised_as_if_it_were() {
        assert!(advice("use an emulated host: `--host emulated`", false).contains("./setup emulator"));
        assert_eq!(
            advice("use an emulated host: `--host emulated`", true),
            "use an emulated host: `--host emulated`"
        );
        assert_eq!(advice("chmod", false), "chmod");
    }

    #[test]
    fn a_default_kernel_that_can_not_be_had_is_said_with_what_to_do() {
        let shown = |origin: Result<&str, &str>| {
            let mut text = String::new();
            let purposes = [Purpose { name: "kernels, modules in C", missing: Vec::new() }];
            built(&mut text, &purposes, &origin.map(str::to_owned).map_err(str::to_owned));
            text
        };
        let good = shown(Ok("come from here"));
        assert!(good.contains("made of is all there") && good.contains("ok   the default kernel"), "{good}");
        let bad = shown(Err("can't be had"));
        assert!(
            bad.contains("is not complete (1 of 2 lack") && bad.contains("BAD  the default kernel"),
            "{bad}"
        );
        assert!(bad.contains("VMM_DEBIAN_MIRROR=https://"), "{bad}");
    }

    #[test]
    fn pages_are_small_where_no_others_were_chosen() {
        assert!(has_small_pages("always within_size advise [never] deny force\n"));
        assert!(!has_small_pages("always within_size [advise] never deny force\n"));
        assert!(!has_small_pages(""));
    }
}
