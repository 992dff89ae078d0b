//! What C source says of itself, as far as a few expressions can tell. Comments are no source.

use base::module::kernels_name;
use regex::Regex;
use std::{collections::BTreeSet, sync::LazyLock};

/// No name is longer, in bytes; an expression that looks for one as long as a file takes all memory.
pub const LONGEST_NAME: usize = 256;

fn regex(text: &str) -> Regex {
    Regex::new(text).expect("a constant that tests use")
}

/// Without comments, which Rust has from C; strings stay, and so do lines.
pub fn strip(text: &str) -> String {
    // A single quote alone begins a lifetime.
    static TOKENS: LazyLock<Regex> =
        LazyLock::new(|| regex(r#"(?s)"(?:\\.|[^"\\])*"|'(?:\\.[^'\n]*|[^'\\\n])'|/\*.*?\*/|//[^\n]*"#));
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
        // Each bus has a macro of its own, and an initcall is one in a module (include/linux/module.h).
        regex(
            r"\bmodule_(?:init|\w*driver|\w*device)\s*\(|\binit_module\s*\(|\b(?:pure|core|postcore|arch|subsys|fs|rootfs|device|late)_initcall(?:_sync)?\s*\(",
        )
    });
    WAY_IN.is_match(text)
}

/// Whether it is a program, which no kernel builds. `text` has no comments.
pub fn is_program(text: &str) -> bool {
    static PROGRAM: LazyLock<Regex> =
        LazyLock::new(|| regex(r"\b(?:int|void|fn)\s+main\s*\(|#\s*include\s*<stdio\.h>"));
    PROGRAM.is_match(text)
}

/// Without the branches that are not compiled, as far as the source itself says which these are.
pub fn compiled(text: &str) -> String {
    static DEFINE: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^[ \t]*#[ \t]*define[ \t]+(\w+)"));
    let defined: BTreeSet<&str> =
        DEFINE.captures_iter(text).map(|it| it.get(1).map_or("", |it| it.as_str())).collect();
    let lines: Vec<&str> = text.lines().collect();
    let mut out = String::new();
    // For each `#if`: whether its branch counts, `None` where nobody knows; and whether the lines around do.
    let mut stack: Vec<(Option<bool>, bool)> = Vec::new();
    let mut counts = true;
    for (index, line) in lines.iter().enumerate() {
        let directive = line.trim_start().strip_prefix('#').map(str::trim_start).unwrap_or_default();
        let (word, rest) = directive.split_once(|c: char| !c.is_alphanumeric()).unwrap_or((directive, ""));
        match word {
            "if" | "ifdef" | "ifndef" => {
                let next = lines.get(index + 1).copied().unwrap_or_default();
                let holds = holds(word, rest.trim(), &defined, next);
                stack.push((holds, counts));
                counts = counts && holds != Some(false);
            }
            "elif" | "else" => {
                if let Some((holds, around)) = stack.last_mut() {
                    counts = *around && *holds != Some(true);
                    // Of a chain nobody looks at the later conditions.
                    *holds = if word == "elif" && *holds == Some(false) { None } else { *holds };
                }
            }
            "endif" => counts = stack.pop().is_none_or(|(_, around)| around),
            _ if counts => out += line,
            _ => {}
        }
        out.push('\n');
    }
    out
}

/// Whether a condition holds, if the source itself says so.
fn holds(word: &str, rest: &str, defined: &BTreeSet<&str>, next: &str) -> Option<bool> {
    static DEFINED: LazyLock<Regex> = LazyLock::new(|| regex(r"^(!?)\s*defined\s*\(?\s*(\w+)\s*\)?$"));
    static VERSION: LazyLock<Regex> = LazyLock::new(|| regex(r"^\(?\s*LINUX_VERSION_CODE\s*([<>])"));
    let is_defined = |name: &str| match name {
        "MODULE" | "__KERNEL__" => Some(true),
        // The kernel's configuration is not in the source.
        name if name.starts_with("CONFIG_") => None,
        name => Some(defined.contains(name)),
    };
    match (word, rest) {
        ("ifdef", name) => is_defined(name),
        // A guard, or a value for who gave none.
        ("ifndef", name) if defines(next) == Some(name) => Some(true),
        ("ifndef", name) => is_defined(name).map(|it| !it),
        (_, "0") => Some(false),
        (_, "1") => Some(true),
        (_, rest) => match (DEFINED.captures(rest), VERSION.captures(rest)) {
            (Some(found), _) => is_defined(&found[2]).map(|it| it == found[1].is_empty()),
            // Whoever asks means kernels that were old when the course's was made.
            (_, Some(found)) => Some(&found[1] == ">"),
            _ => None,
        },
    }
}

fn defines(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix('#')?.trim_start().strip_prefix("define")?.split_whitespace().next()
}

/// The name that a driver registers, with macros looked up. It may be anything: a shell would do what it says. `text` has no comments.
pub fn device(text: &str, module: &str) -> Option<String> {
    // A macro's value may stand on the next line.
    let text = &*text.replace("\\\n", " ");
    static REGISTERS: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r#"\b(?:__)?register_chrdev\s*\(\s*[^,]+,\s*(?:\d+\s*,\s*\d+\s*,\s*)?((?:"[^"\n]*"|[^,;()"])+?)\s*,|\b(?:alloc|register)_chrdev_region\s*\((?:[^;()]|\([^()]*\))*,\s*((?:"[^"\n]*"|[^,;()"])+?)\s*\)"#,
        )
    });
    let name = match REGISTERS.captures(text) {
        Some(found) => words(text, found.get(1).or_else(|| found.get(2))?.as_str(), module, &mut 20)?,
        None => misc(text, module)?,
    };
    // Of an escape sequence only the compiler knows what it is.
    (!name.is_empty() && !name.contains('\\')).then_some(name)
}

/// The name of a device of the kernel's miscellaneous ones, which is a field of what is registered (include/linux/miscdevice.h).
fn misc(text: &str, module: &str) -> Option<String> {
    static REGISTERS: LazyLock<Regex> = LazyLock::new(|| {
        regex(r"\b(?:misc_register|module_misc_device)\s*\(\s*(&?)\s*([A-Za-z_]\w*(?:(?:\.|->)\w+)*)\s*\)")
    });
    let found = REGISTERS.captures(text)?;
    let variable = Some(&found[2]).filter(|name| name.len() <= LONGEST_NAME)?;
    // The name follows the minor.
    let in_order = format!(r"\b{}\s*=\s*\{{\s*[^,{{}}.=;]+,\s*([^,{{}};]+)", regex::escape(variable));
    let in_order = Regex::new(&in_order).ok()?.captures(text).map(|found| found[1].to_owned());
    // As a macro has it, it is the variable itself.
    let is_itself = found[1].starts_with('&') || found[0].starts_with("module");
    let field = format!("{variable}{}name", if is_itself { "." } else { "->" });
    words(text, &in_order.unwrap_or(field), module, &mut 20)
}

/// The text that an expression stands for: pieces one behind the other, each a literal or the name of something. Macros may name others, `left` of
/// them in all.
fn words(text: &str, expression: &str, module: &str, left: &mut usize) -> Option<String> {
    static TOKEN: LazyLock<Regex> =
        LazyLock::new(|| regex(r#"^\s*("[^"\n]*"|[A-Za-z_]\w*(?:(?:\.|->)\w+)*)"#));
    let mut rest = expression.trim().trim_start_matches('(').trim_end_matches(')').trim();
    let mut said = String::new();
    while !rest.is_empty() {
        let found = TOKEN.captures(rest)?;
        let word = found.get(1)?;
        rest = rest[word.end()..].trim_start();
        match word.as_str() {
            word if word.starts_with('"') => said += word.trim_matches('"'),
            // Both are the module's own name (include/linux/module.h).
            "KBUILD_MODNAME" | "THIS_MODULE->name" => said += &kernels_name(module),
            word => {
                *left = left.checked_sub(1)?;
                said += &words(text, &meaning(text, word)?, module, left)?;
            }
        }
    }
    Some(said)
}

/// What a macro, a variable or a field of one begins as.
fn meaning(text: &str, word: &str) -> Option<String> {
    if word.len() > LONGEST_NAME {
        return None;
    }
    let find = |pattern: &str| {
        let found = Regex::new(pattern).ok()?.captures(text)?;
        Some(found[1].trim().to_owned())
    };
    let name = regex::escape(word);
    if let Some((variable, field)) = word.rsplit_once("->").or_else(|| word.rsplit_once('.')) {
        let (variable, field) = (regex::escape(variable), regex::escape(field));
        return find(&format!(r#"\b{variable}\b[^;=]*=\s*\{{[^;]*?\.{field}\s*=\s*([^;,}}\n]+)"#))
            .or_else(|| find(&format!(r#"\b{name}\s*=\s*([^;,=\n][^;,\n]*);"#)))
            .or_else(|| find(&format!(r#"\.{field}\s*=\s*([^;,}}=\n]+)"#)));
    }
    find(&format!(r"(?m)^[ \t]*#[ \t]*define[ \t]+{name}[ \t]+([^\n]+)"))
        .or_else(|| find(&format!(r"\b{name}(?:\s*\[\s*\w*\s*\])?\s*=\s*([^;,=\n][^;,\n]*)")))
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
    let Some(word) = word else { return CHOSEN.is_match(text).then(|| "0".to_owned()) };
    let mut word = word.to_owned();
    // A macro may name another one.
    for _ in 0..5 {
        if word.parse::<u32>().is_ok() {
            return Some(word);
        }
        word = meaning(text, &word)?.trim_matches(['(', ')']).to_owned();
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
            (
                "struct driver d = { .name = \"no\" };\n#define NAME \"my\"\nstruct miscdevice dev = {\n.minor = MISC_DYNAMIC_MINOR,\n.name = NAME \"dev\",\n};\nmisc_register(&dev)",
                Some("mydev"),
                None,
            ),
            (
                "struct miscdevice dev = { MISC_DYNAMIC_MINOR, \"mydev\", &fops };\nmodule_misc_device(dev);",
                Some("mydev"),
                None,
            ),
            ("my->misc.name = \"mydev\";\nmisc_register(&my->misc)", Some("mydev"), None),
            ("misc->name = KBUILD_MODNAME;\nif (misc_register(misc))", Some("mod"), None),
            ("char name[20] = \"z\"; register_chrdev(0, name, &f)", Some("z"), Some("0")),
            ("#define NAME \\\n\t\"next\"\nregister_chrdev(0, NAME, &f)", Some("next"), Some("0")),
            ("register_chrdev(0, KBUILD_MODNAME, &f)", Some("mod"), Some("0")),
            ("alloc_chrdev_region(&dev, 0, 4, THIS_MODULE->name)", Some("mod"), Some("0")),
            ("register_chrdev(0, \"my $(dev)\", &f)", Some("my $(dev)"), Some("0")),
            ("register_chrdev(0, \"my\\x2b\", &f)", None, Some("0")),
            (
                "#define P \"my\"\n#define NAME P \"-\" \"drv\"\nregister_chrdev(0, NAME, &f)",
                Some("my-drv"),
                Some("0"),
            ),
            (
                "static struct { int a; char *name; } drv = { .a = 1, .name = \"mydrv\" };\nstruct c = { .name = \"no\" };\nregister_chrdev(0, drv.name, &f)",
                Some("mydrv"),
                Some("0"),
            ),
            (
                "drv->name = NAME;\n#define NAME \"mydrv\"\nregister_chrdev(0, drv->name, &f)",
                Some("mydrv"),
                Some("0"),
            ),
            ("if (name == \"no\") name = \"yes\"; register_chrdev(0, name, &f)", Some("yes"), Some("0")),
            ("register_chrdev(0, name(1), &f)", None, Some("0")),
        ] {
            assert_eq!((device(text, "mod").as_deref(), major(text).as_deref()), (name, number), "{text}");
        }
        let own = "register_chrdev(0, KBUILD_MODNAME \"-x\", &f)";
        assert_eq!(device(own, "my-mod").as_deref(), Some("my_mod-x"), "as the kernel has it");
        let long = "a".repeat(LONGEST_NAME + 1);
        for text in [
            format!("struct miscdevice {long} = {{ 0, \"x\", &f }};\nmisc_register(&{long})"),
            format!("#define {long} \"x\"\nregister_chrdev(0, {long}, &f)"),
        ] {
            assert_eq!(device(&text, "mod"), None, "an expression was made of a name without bounds");
        }
    }

    #[test]
    fn branches_that_are_not_compiled_say_nothing() {
        let text = "#ifndef A_H\n#define A_H\n#ifdef OLD\n#define NAME \"old\"\n#else\n#define NAME \"new\"\n#endif\n#if 0\nno\n#elif X\nperhaps\n#endif\n\
            #if LINUX_VERSION_CODE >= KERNEL_VERSION(6,4,0)\nlater\n#else\nearlier\n#endif\n#if defined(A_H)\nyes\n#endif\n#ifdef CONFIG_X\nboth\n#else\nof them\n#endif\n#ifndef NAME\n#define NAME \"x\"\n#endif\n#endif\nend\n#endif\n#else\n";
        let words: Vec<String> =
            compiled(text).split_whitespace().filter(|it| !it.starts_with('#')).map(str::to_owned).collect();
        assert_eq!(
            words,
            [
                "A_H", "NAME", "\"new\"", "perhaps", "later", "yes", "both", "of", "them", "NAME", "\"x\"",
                "end"
            ]
        );
        assert_eq!(compiled(text).lines().count(), text.lines().count(), "lines stay where they are");
    }

    #[test]
    fn comments_are_no_source() {
        let text = strip("/* MODULE_LICENSE(\"GPL\");\n*/ int a; // module_init(x)\nchar *s = \"/* no */\";");
        assert_eq!(text, " \n int a;  \nchar *s = \"/* no */\";");
        let text = "fn f<'a>(x: &'a str) -> char { '\\'' } // it's\nlet c = '\"'; /* 'b */ 'c: loop";
        assert_eq!(strip(text), "fn f<'a>(x: &'a str) -> char { '\\'' }  \nlet c = '\"';   'c: loop");
        let text = strip("/* MODULE_LICENSE(\"GPL\"); */ // module_init(x)");
        assert!(!has_license(&text) && !is_main(&text));
        assert!(has_license("MODULE_LICENSE (\"GPL\");") && is_main("int init_module (void)"));
        for begins in [
            "module_pci_driver(d);",
            "module_virtio_driver(d)",
            "device_initcall (f);",
            "late_initcall_sync(f)",
        ] {
            assert!(is_main(begins), "{begins}");
        }
        assert!(!is_main("module_param(size, int, 0); module_put(m); my_initcall(f);"));
    }
}
