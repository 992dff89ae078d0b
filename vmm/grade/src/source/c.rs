//! What C source says of itself, as far as a few expressions can tell. Comments are no source.

use regex::Regex;
use std::sync::LazyLock;

fn regex(text: &str) -> Regex {
    Regex::new(text).expect("a constant that tests use")
}

/// Without comments; strings stay, and so do lines.
pub fn strip(text: &str) -> String {
    static TOKENS: LazyLock<Regex> =
        LazyLock::new(|| regex(r#"(?s)"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|/\*.*?\*/|//[^\n]*"#));
    let blank = |found: &regex::Captures<'_>| match &found[0] {
        comment if comment.starts_with('/') => {
            let lines = comment.matches('\n').count();
            format!(" {}", "\n".repeat(lines))
        }
        string => string.to_owned(),
    };
    TOKENS.replace_all(text, blank).into_owned()
}

/// Whether a module says under which licence it is. `text` has no comments.
pub fn has_license(text: &str) -> bool {
    static LICENSE: LazyLock<Regex> = LazyLock::new(|| regex(r"\bMODULE_LICENSE\s*\("));
    LICENSE.is_match(text)
}

/// Whether it is a module's main file: others have no way in. `text` has no comments.
pub fn is_main(text: &str) -> bool {
    static WAY_IN: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"\bmodule_(?:init|driver|platform_driver|misc_device|i2c_driver|usb_driver)\s*\(|\binit_module\s*\(",
        )
    });
    WAY_IN.is_match(text)
}

/// The name that a driver registers, with macros looked up. `text` has no comments.
pub fn device(text: &str, module: &str) -> Option<String> {
    // A macro's value may stand on the next line.
    let text = &*text.replace("\\\n", " ");
    static REGISTERS: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r#"\b(?:__)?register_chrdev\s*\(\s*[^,]+,\s*(?:\d+\s*,\s*\d+\s*,\s*)?("[^"]*"|THIS_MODULE->name|\w+)\s*,|\b(?:alloc|register)_chrdev_region\s*\((?:[^;()]|\([^()]*\))*,\s*("[^"]*"|THIS_MODULE->name|\w+)\s*\)"#,
        )
    });
    let found = REGISTERS.captures(text)?;
    let word = found.get(1).or_else(|| found.get(2))?.as_str();
    // Both are the module's own name (include/linux/module.h, scripts/Makefile.lib).
    let own = ["KBUILD_MODNAME", "THIS_MODULE->name"];
    let name = if own.contains(&word) { module.to_owned() } else { constant(text, word)? };
    let name = name.trim_matches('"');
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    (!name.is_empty() && name.chars().all(plain)).then(|| name.to_owned())
}

/// The major that a driver asks for; 0 lets the kernel choose. `text` has no comments.
pub fn major(text: &str) -> Option<String> {
    static ASKS: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"\b(?:__)?register_chrdev\s*\(\s*(\w+)\s*,|\bregister_chrdev_region\s*\(\s*MKDEV\s*\(\s*(\w+)\s*,",
        )
    });
    static CHOSEN: LazyLock<Regex> = LazyLock::new(|| regex(r"\balloc_chrdev_region\s*\("));
    let found = ASKS.captures(text);
    let word = found.as_ref().and_then(|it| it.get(1).or_else(|| it.get(2))).map(|it| it.as_str());
    match word {
        Some(word) => constant(text, word).filter(|value| value.parse::<u32>().is_ok()),
        None => CHOSEN.is_match(text).then(|| "0".to_owned()),
    }
}

/// A literal, or what a macro or a variable of this name begins as.
fn constant(text: &str, word: &str) -> Option<String> {
    let mut word = word.to_owned();
    // A macro may name another one.
    for _ in 0..4 {
        if word.starts_with('"') || word.starts_with(|c: char| c.is_ascii_digit()) {
            return Some(word);
        }
        let name = regex::escape(&word);
        let value = r#"("[^"\n]*"|\w+)"#;
        let define = Regex::new(&format!(r"(?m)^[ \t]*#[ \t]*define[ \t]+{name}[ \t]+\(?{value}")).ok()?;
        let variable = Regex::new(&format!(r"\b{name}(?:\s*\[\s*\w*\s*\])?\s*=\s*\(?{value}")).ok()?;
        word = define.captures(text).or_else(|| variable.captures(text))?[1].to_owned();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_say_their_names_and_majors_in_many_ways() {
        for (text, name, number) in [
            (r#"major = register_chrdev(0, "mydev", &fops);"#, Some("mydev"), Some("0")),
            (
                "#define NAME \"my-dev\"\n#define MAJOR_NUM (261)\nregister_chrdev(MAJOR_NUM, NAME, &f)",
                Some("my-dev"),
                Some("261"),
            ),
            (
                "static int major = 240;\nstatic char *name = \"x\";\n__register_chrdev(major, 0, 4, name, &f)",
                Some("x"),
                Some("240"),
            ),
            ("alloc_chrdev_region(&dev, 0, 4, \"four\")", Some("four"), Some("0")),
            (
                "#define DEV OTHER\n#define OTHER \"y\"\nregister_chrdev_region(MKDEV(250, 0), 2, DEV)",
                Some("y"),
                Some("250"),
            ),
            ("#define A B\n#define B A\nregister_chrdev(A, B, &f)", None, None),
            ("misc_register(&dev)", None, None),
            ("char name[20] = \"z\"; register_chrdev(0, name, &f)", Some("z"), Some("0")),
            ("#define NAME \\\n\t\"next\"\nregister_chrdev(0, NAME, &f)", Some("next"), Some("0")),
            ("register_chrdev(0, KBUILD_MODNAME, &f)", Some("mod"), Some("0")),
            ("alloc_chrdev_region(&dev, 0, 4, THIS_MODULE->name)", Some("mod"), Some("0")),
            ("register_chrdev(0, \"$(reboot)\", &f)", None, Some("0")),
        ] {
            assert_eq!((device(text, "mod").as_deref(), major(text).as_deref()), (name, number), "{text}");
        }
    }

    #[test]
    fn comments_are_no_source() {
        let text = strip("/* MODULE_LICENSE(\"GPL\");\n*/ int a; // module_init(x)\nchar *s = \"/* no */\";");
        assert_eq!(text, " \n int a;  \nchar *s = \"/* no */\";");
        assert!(!has_license(&text) && !is_main(&text));
        assert!(has_license("MODULE_LICENSE (\"GPL\");") && is_main("int init_module (void)"));
    }
}
