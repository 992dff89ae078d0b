//! What a system call's parameters are called, as the kernel's own header declares them.

use std::{fs, path::Path};

/// A parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Such as `long __user *`.
    pub kind: String,
    /// Empty where the header gives none.
    pub name: String,
}

impl Parameter {
    /// Whether it is an address in the program's memory.
    pub fn is_pointer(&self) -> bool {
        self.kind.contains('*')
    }
}

/// Looks a call up in `include/linux/syscalls.h` of the source that belongs to a kernel's build folder. `None` where
/// there is no such file, or it does not declare the call.
pub fn find(build: &Path, name: &str) -> Option<Vec<Parameter>> {
    let header = "include/linux/syscalls.h";
    let places = [build.join("source").join(header), build.join(header)];
    let text = places.iter().find_map(|path| fs::read_to_string(path).ok())?;
    parse(&text, name)
}

/// `asmlinkage long sys_NAME(TYPE NAME, ...);`, over as many lines as it takes.
fn parse(header: &str, name: &str) -> Option<Vec<Parameter>> {
    let start = format!("sys_{name}(");
    let at = header.match_indices(&start).find(|(at, _)| header[..*at].ends_with([' ', '\t', '\n']))?.0;
    let list = header[at + start.len()..].split_once(");")?.0;
    if list.trim() == "void" {
        return Some(Vec::new());
    }
    Some(list.split(',').map(parameter).collect())
}

fn parameter(text: &str) -> Parameter {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let name_at = text.rfind(|c: char| !(c.is_alphanumeric() || c == '_')).map_or(0, |at| at + 1);
    let (kind, name) = text.split_at(name_at);
    // What stands there alone, or is a word of the type, is no name.
    let words = ["int", "long", "unsigned", "char", "__user", "size_t", "const"];
    if kind.trim().is_empty() || words.contains(&name) {
        return Parameter { kind: text, name: String::new() };
    }
    Parameter { kind: kind.trim().to_owned(), name: name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_over_lines_and_without_names() {
        let header = "asmlinkage long sys_openat(int dfd, const char __user *filename,\n\t\tint flags, umode_t mode);\n\
            asmlinkage long sys_getpid(void);\nasmlinkage long sys_odd(unsigned long, size_t, char __user *);\n";
        let openat = parse(header, "openat").unwrap();
        let names: Vec<_> = openat.iter().map(|it| (it.kind.as_str(), it.name.as_str())).collect();
        assert_eq!(
            names,
            [("int", "dfd"), ("const char __user *", "filename"), ("int", "flags"), ("umode_t", "mode")]
        );
        assert!(openat[1].is_pointer() && !openat[0].is_pointer());
        assert_eq!(parse(header, "getpid").unwrap(), []);
        let odd = parse(header, "odd").unwrap();
        assert_eq!(
            odd.iter().map(|it| it.kind.as_str()).collect::<Vec<_>>(),
            ["unsigned long", "size_t", "char __user *"]
        );
        assert!(odd.iter().all(|it| it.name.is_empty()));
        assert_eq!((parse(header, "nothing"), parse(header, "pid"), parse("", "x")), (None, None, None));
    }
}
