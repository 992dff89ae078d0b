//! Kernels as text for a terminal.

use base::text::escape;
use kernel::store::{Freed, Stored};
use std::{fmt::Write, time::SystemTime};

/// One line for each.
pub fn list(kernels: &[Stored]) -> String {
    let head = ["hash", "release", "size", "last used", "configuration", "source"].map(str::to_owned);
    let now = SystemTime::now();
    let rows = kernels.iter().map(|kernel| {
        let facts = kernel.facts.as_ref();
        [
            kernel.hash.clone(),
            or(&kernel.release, "(damaged)"),
            size(kernel.size),
            ago(kernel.used, now),
            facts.map_or(String::new(), |facts| configuration(&facts.ingredients)),
            facts.map_or(String::new(), |facts| escape(&facts.source)),
        ]
    });
    columns(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

/// Columns that line up.
pub fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let line: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}  ")).collect();
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// "tinyconfig + base, kasan".
fn configuration(from: &kernel::Ingredients) -> String {
    let fragments: Vec<_> =
        from.fragments.iter().filter_map(|path| Some(path.file_stem()?.to_string_lossy())).collect();
    match (from.base.as_str(), fragments.join(", ")) {
        ("", _) => "(not recorded)".to_owned(),
        (base, fragments) if fragments.is_empty() => escape(base),
        (base, fragments) => escape(&format!("{base} + {fragments}")),
    }
}

/// Everything about one.
pub fn show(kernel: &Stored) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<14}{value}");
    };
    line("hash", &kernel.hash);
    line("release", &or(&kernel.release, "(damaged: remove the folder, and it is built again)"));
    if let Some(facts) = &kernel.facts {
        line("source", &escape(&facts.source));
        line("version", &escape(&facts.version));
        let from = &facts.ingredients;
        line("patches", &or(&lines(&from.patches), "none, or not recorded"));
        line("configuration", &or(&escape(&from.base), "(not recorded)"));
        line("fragments", &or(&lines(&from.fragments), "none, or not recorded"));
        line("compiler", &escape(&facts.compiler.to_string()));
        line("built in", &format!("{} s, {} steps", facts.seconds, facts.steps));
    }
    line("last used", &ago(kernel.used, SystemTime::now()));
    line("size", &size(kernel.size));
    line("folder", &kernel.path.display().to_string());
    for (name, what) in [
        ("vmlinux", "with symbols"),
        ("vmlinux.boot", "what boots"),
        ("System.map", "addresses"),
        ("config", ""),
        ("modules", "as modules_install left them"),
        ("build", "for make -C"),
    ] {
        if kernel.path.join(name).exists() {
            line("", format!("{name:<14}{what}").trim_end());
        }
    }
    text
}

fn lines(paths: &[std::path::PathBuf]) -> String {
    paths.iter().map(|path| escape(&path.to_string_lossy())).collect::<Vec<_>>().join("\n              ")
}

/// What was removed, or would be.
pub fn freed(freed: &Freed, dry_run: bool) -> String {
    let verb = if dry_run { "would remove" } else { "removed" };
    let mut text = String::new();
    for kernel in &freed.kernels {
        let _ = writeln!(text, "{verb} {} {} ({})", kernel.hash, kernel.release, size(kernel.size));
    }
    for (folder, bytes) in &freed.folders {
        let _ = writeln!(text, "{verb} its build folder {} ({})", folder.display(), size(*bytes));
    }
    let _ = match freed.kernels.len() {
        0 => writeln!(text, "nothing to remove"),
        n => {
            let s = if n == 1 { "" } else { "s" };
            writeln!(text, "{n} kernel{s}, {} in all", size(freed.size()))
        }
    };
    text
}

fn or(text: &str, instead: &str) -> String {
    if text.is_empty() { instead.to_owned() } else { text.to_owned() }
}

/// For people.
pub fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes >= 1024 * MIB {
        format!("{:.1} GiB", bytes as f64 / (1024.0 * MIB as f64))
    } else {
        format!("{} MiB", bytes.div_ceil(MIB))
    }
}

/// For people.
pub fn ago(then: SystemTime, now: SystemTime) -> String {
    let seconds = now.duration_since(then).unwrap_or_default().as_secs();
    match seconds {
        0..60 => "just now".to_owned(),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn columns_line_up_and_lines_have_no_blanks_at_their_ends() {
        let rows = [["a", "b"], ["long", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), "a     b\nlong\n");
    }

    #[test]
    fn nothing_that_an_imported_kernel_says_of_itself_steers_the_terminal() {
        let hostile = || "\u{1b}[2J\n".to_owned();
        let ingredients = kernel::Ingredients {
            patches: vec![hostile().into()],
            base: hostile(),
            fragments: vec![hostile().into()],
            slot: hostile(),
        };
        let facts = kernel::Facts {
            source: hostile(),
            version: hostile(),
            compiler: kernel::Compiler::Gcc,
            steps: 1,
            seconds: 1,
            ingredients,
        };
        let kernel = Stored {
            hash: "0".repeat(16),
            path: "/cache".into(),
            release: "6.1".into(),
            facts: Some(facts),
            size: 1,
            used: SystemTime::now(),
        };
        let (list, show) = (list(std::slice::from_ref(&kernel)), show(&kernel));
        assert_eq!(list.lines().count(), 2, "{list}");
        assert!(!list.contains('\u{1b}') && !show.contains('\u{1b}'), "{show}");
    }

    #[test]
    fn sizes_and_ages_are_for_people() {
        assert_eq!(
            (size(1), size(1 << 20), size(3 << 29)),
            ("1 MiB".into(), "1 MiB".into(), "1.5 GiB".into())
        );
        let now = SystemTime::now();
        let ago = |seconds| ago(now - Duration::from_secs(seconds), now);
        assert_eq!(
            [ago(5), ago(120), ago(7200), ago(259_200)],
            ["just now", "2 min ago", "2 h ago", "3 days ago"]
        );
    }
}
