//! What modpost refuses once all is compiled: symbols that nobody has, and symbols that a module may not use.

use super::changes::version;
use regex::Regex;
use std::sync::LazyLock;

/// How its errors begin.
pub const SAYS: &str = "ERROR: modpost: ";

/// Symbols that it misses, each once, with all lines that say so.
pub fn undefined(lines: &[String]) -> Vec<(&str, Vec<&str>)> {
    /// Kernels from 6.13 on: `x.ko: symbol 'name' undefined!`; before: `"name" [x.ko] undefined!`.
    static SAID: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"^ERROR: modpost: (?:.*: symbol '|")(\w+)['"].* ?undefined!$"#)
            .expect("a constant that tests use")
    });
    let mut all: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in lines {
        let Some(name) = SAID.captures(line).map(|found| found.extract::<1>().1[0]) else { continue };
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, lines)) => lines.push(line),
            None => all.push((name, vec![line])),
        }
    }
    all
}

/// What another of its errors means.
pub fn advice(error: &str, release: &str) -> Option<String> {
    static NAMESPACE: LazyLock<Regex> = LazyLock::new(|| {
        // Kernels from 6.16 on quote it, and it may hold commas.
        Regex::new(r"from namespace '?(\S+?)'?, but does not import it").expect("a constant that tests use")
    });
    if error.contains("missing MODULE_LICENSE()") {
        return Some("say under which terms it may be used, as in MODULE_LICENSE(\"GPL\");".to_owned());
    }
    if error.contains("uses GPL-only symbol") {
        let advice = "the kernel has that for modules with a GPL-compatible licence only: if yours may be GPL, write \
                      MODULE_LICENSE(\"GPL\");";
        return Some(advice.to_owned());
    }
    let namespace = NAMESPACE.captures(error)?;
    Some(of_namespace(&namespace[1], release))
}

/// What the author of a module for this kernel does to use a namespace's symbols.
pub fn of_namespace(namespace: &str, release: &str) -> String {
    match for_modules(namespace, release) {
        Some(modules) => format!(
            "the kernel has that for modules of these names only, and no other may import it: {modules}; do without"
        ),
        None if version(release) >= vec![6, 13] => {
            format!("write MODULE_IMPORT_NS(\"{namespace}\"); beside MODULE_LICENSE")
        }
        None => format!("write MODULE_IMPORT_NS({namespace}); beside MODULE_LICENSE"),
    }
}

/// The modules for which a namespace's symbols are, with commas between, and perhaps a `*` behind a name: what `EXPORT_SYMBOL_FOR_MODULES`
/// makes (include/linux/export.h). Before Linux 6.16 the loader knows nothing of it.
pub fn for_modules<'a>(namespace: &'a str, release: &str) -> Option<&'a str> {
    namespace.strip_prefix("module:").filter(|_| version(release) >= vec![6, 16])
}
