//! What Rust source says of itself, as far as a few expressions can tell. Comments are no source.

use regex::Regex;
use std::sync::LazyLock;

fn regex(text: &str) -> Regex {
    Regex::new(text).expect("a constant that tests use")
}

/// Whether a file is one of these.
pub fn is_rust(path: &str) -> bool {
    path.ends_with(".rs")
}

/// Whether it is a module's main file. `text` has no comments.
pub fn is_main(text: &str) -> bool {
    // Each bus has a macro of its own, an author may have one around it, and all take a name (rust/macros/module.rs of the kernel).
    static WAY_IN: LazyLock<Regex> =
        LazyLock::new(|| regex(r#"\b\w*module\w*!\s*[({\[][^{}]*?\bname\s*:\s*[bc]?""#));
    WAY_IN.is_match(text)
}

/// The name that a driver registers. It may be anything: a shell would do what it says. `text` has no comments.
pub fn device(text: &str) -> Option<String> {
    // rust/kernel/miscdevice.rs; and a registration as authors of character devices write one.
    static REGISTERS: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"\bMiscDeviceOptions\s*\{[^}]*?\bname\s*:\s*([^,}]+)|\bRegistration(?:::<[^>]*>)?::new\w*\s*\(\s*([^,]+),",
        )
    });
    static LITERAL: LazyLock<Regex> =
        LazyLock::new(|| regex(r#"^(?:(?:\w+::)*\w+!\s*\(\s*)?[bc]?"([^"\\]+)"\s*\)?$"#));
    let found = REGISTERS.captures(text)?;
    let mut expression = found.get(1).or_else(|| found.get(2))?.as_str().trim().to_owned();
    // A constant may name another one.
    for _ in 0..5 {
        if let Some(found) = LITERAL.captures(&expression) {
            return Some(found[1].to_owned());
        }
        let name = expression.rsplit("::").next().filter(|name| name.len() <= super::c::LONGEST_NAME)?;
        let name = regex::escape(name);
        let meaning = format!(r"\b(?:const|static)\s+{name}\s*:[^=;]*=\s*([^;]+);");
        expression = Regex::new(&meaning).ok()?.captures(text)?[1].trim().to_owned();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_main_file_is_known_by_the_macro_that_makes_a_module() {
        for text in [
            "module! {\n    type: Drv,\n    name: \"drv\",\n    license: \"GPL\",\n}",
            "kernel::module_platform_driver! { type: Drv, name: \"drv\", license: \"GPL\" }",
            "module_phy_driver! { drivers: [Phy], device_table: [Phy::ID], name: \"drv\" }",
            "module! { type: Drv, name: b\"drv\" }",
            "series::described_module! { type: Drv, name: \"drv\" }",
        ] {
            assert!(is_main(text), "{text}");
        }
        for text in [
            "macro_rules! described { ($name:tt) => { ::kernel::prelude::module! { name: $name, } } }",
            "kernel::module_firmware!(Builder);",
            "fn init(module: &ThisModule) { pr_info!(\"name: \"); }",
            "struct Options { name: \"x\" }",
        ] {
            assert!(!is_main(text), "{text}");
        }
    }

    #[test]
    fn drivers_say_their_names() {
        for (text, name) in [
            ("let o = MiscDeviceOptions { name: c_str!(\"my-dev\"), };", Some("my-dev")),
            ("miscdevice::MiscDeviceOptions {\n name: c\"dev\"\n}", Some("dev")),
            (
                "const NAME: &CStr = kernel::c_str!(\"dev\");\nMiscDeviceOptions { name: Self::NAME }",
                Some("dev"),
            ),
            ("cdev::Registration::new(c_str!(\"chardev\"), module, 0, buffers)", Some("chardev")),
            ("chrdev::Registration::<2>::new_pinned(name, 0, module)", None),
            ("static A: &CStr = B;\nstatic B: &CStr = A;\nMiscDeviceOptions { name: A }", None),
            ("module! { name: \"drv\" }", None),
        ] {
            assert_eq!(device(text).as_deref(), name, "{text}");
        }
        let long = "a".repeat(super::super::c::LONGEST_NAME + 1);
        let text = format!("const {long}: &CStr = c\"x\";\nMiscDeviceOptions {{ name: {long} }}");
        assert_eq!(device(&text), None, "an expression was made of a name without bounds");
    }
}
