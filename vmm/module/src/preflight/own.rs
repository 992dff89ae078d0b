//! Which file of a module's own folder defines a symbol that its build misses.

use jail::intake;
use kernel::tree::Tree;
use regex::Regex;
use std::path::Path;

/// The first C file of a tree that defines a function or variable of this name for other files. `folder` is where the tree is.
pub fn defining<'a>(name: &str, folder: &Path, tree: &'a Tree) -> Option<&'a Path> {
    // A definition begins at a line's beginning, and a function's name may stand on the line behind its type.
    let pattern = format!(
        r"(?m)^(?P<of>[A-Za-z_][\w \t*]*[ \t*\n])?{name}[ \t]*(?:\([^;{{}}]*\)\s*\{{|(?:\[[^;=]*\]\s*)*[=;])"
    );
    let pattern = Regex::new(&pattern).ok()?;
    let is_others =
        |of: &str| of.split_whitespace().any(|word| ["static", "extern", "typedef"].contains(&word));
    let defines = |path: &&Path| {
        let text = intake::read_within(folder, path).unwrap_or_default();
        pattern.captures_iter(&text).any(|found| found.name("of").is_some_and(|of| !is_others(of.as_str())))
    };
    tree.paths().filter(|path| path.extension().is_some_and(|ending| ending == "c")).find(defines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jail::Limits;
    use kernel::fixture::write;

    #[test]
    fn definitions_are_told_from_uses_and_declarations() {
        let folder = tempfile::tempdir().unwrap();
        let main =
            "extern int util;\nint f(int);\nstatic int local(void)\n{\n\treturn f(util);\n}\nint x = f;\n";
        write(&folder.path().join("main.c"), main);
        let more = "struct a *\nf(int a,\n  int b)\n{\n}\nint util;\nlong list[3] = { 1 };\nint main_too(void) { return local(); }\n";
        write(&folder.path().join("util.c"), more);
        let tree = Tree::scan(folder.path(), Limits::MODULE).unwrap();
        for name in ["f", "util", "list"] {
            assert_eq!(defining(name, folder.path(), &tree), Some(Path::new("util.c")), "{name}");
        }
        for name in ["local", "printk", "a"] {
            assert_eq!(defining(name, folder.path(), &tree), None, "{name}");
        }
    }
}
