use super::*;

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn context() -> Context<'static> {
    let places = Places::of_module(Path::new("/cache/m"), Path::new("mods/hello"));
    Context { places, release: "6.12.117-vmm", headers: None, source: None }
}

fn first(text: &str) -> FirstError {
    first_error(&lines(text), &context()).unwrap()
}

#[test]
fn gcc_error_is_shown_with_its_source_and_the_users_path() {
    let error = first(
        "  CC [M]  /cache/m/hello.o\n\
         /cache/m/hello.c: In function 'init':\n\
         \x1b[01m\x1b[K/cache/m/hello.c:7:2:\x1b[m\x1b[K \x1b[01;31merror: \x1b[m\x1b[K'x' undeclared\n    \
         7 |  x = 1;\n      |  ^\n\
         /cache/m/hello.c:7:2: note: each undeclared identifier is reported only once\n\
         make[3]: *** [scripts/Makefile.build:229: hello.o] Error 1\n\
         /cache/m/hello.c:9:1: error: second\n",
    );
    assert_eq!(error.lines.len(), 5, "{error:?}");
    assert_eq!(error.lines[4], "(and 1 more error)");
    assert_eq!(error.lines[0], "mods/hello/hello.c:7:2: error: 'x' undeclared");
    assert_eq!(error.lines[1], "    7 |  x = 1;");
    assert!(error.advice.is_empty());
}

#[test]
fn rustc_error_is_shown_with_its_place() {
    let error = first(
        "  RUSTC [M] /cache/m/chardev.o\nerror[E0425]: cannot find value `y` in this scope\n  \
         --> /cache/m/chardev.rs:10:5\n   |\n10 |     y\n   |     ^ not found in this scope\n\n\
         error: aborting due to 1 previous error\n",
    );
    assert_eq!(error.lines[0], "error[E0425]: cannot find value `y` in this scope");
    assert_eq!(error.lines[1], "  --> mods/hello/chardev.rs:10:5");
    assert_eq!(error.lines.len(), 5, "{error:?}");
}

#[test]
fn modpost_make_and_linker_errors_are_found() {
    for text in [
        "ERROR: modpost: \"nosuch\" [/cache/m/hello.ko] undefined!",
        "make[3]: *** No rule to make target '/cache/m/gone.o', needed by '/cache/m/'.  Stop.",
        "ld: kernel/fork.o: in function `fork': fork.c:(.text+0x1): undefined reference to `nosuch'",
        "/cache/m/Makefile:2: *** missing separator.  Stop.",
        "/cache/m/Makefile:3: *** missing 'endif'.  Stop.",
        "/cache/m/Makefile:1: *** recipe commences before first target.  Stop.",
        "/cache/m/Makefile:2: *** set KDIR.  Stop.",
        "make[2]: *** /cache/m/none: No such file or directory.  Stop.",
    ] {
        let error = first(&format!(
            "  MODPOST x\nmake[3]: *** [Makefile:1: x] Error 1\n{text}\nmake: *** [Makefile:224: __sub-make] Error 2"
        ));
        assert_eq!(error.lines, [text.replace("/cache/m/", "mods/hello/")]);
    }
}

#[test]
fn what_the_assembler_refuses_is_shown_with_its_line() {
    let error = first(
        "  CC [M]  /cache/m/hello.o\n/cache/m/hello.c: Assembler messages:\n/cache/m/hello.c:15: Error: no such instruction: `movx %eax,7'\n\
         make[2]: *** [scripts/Makefile.build:234: /cache/m/hello.o] Error 1\n",
    );
    assert_eq!(error.lines, ["mods/hello/hello.c:15: Error: no such instruction: `movx %eax,7'"]);
}

#[test]
fn what_is_defined_twice_is_named() {
    for said in [
        "ld: lib/sort.o: in function `sort':\nsort.c:(.text+0x0): multiple definition of `sort'; kernel/mine.o:mine.c:(.text+0x0): first defined here\n",
        "ld.lld-19: error: duplicate symbol: sort\n>>> defined at mine.c:3\n>>>            kernel/mine.o:(sort)\n>>> defined at sort.c:280\n",
    ] {
        let error = first(said);
        assert!(
            error.lines[0].contains("sort") && error.lines.iter().any(|line| line.contains("mine")),
            "{error:?}"
        );
        assert!(error.advice[0].starts_with("two files define sort"), "{error:?}");
    }
}

#[test]
fn what_macros_define_twice_is_told_by_the_macro() {
    let advice = |names: &[&str]| {
        let said = names
            .iter()
            .map(|name| format!("ld: b.o: multiple definition of `{name}'; a.o: first defined here\n"));
        first(&said.collect::<String>()).advice
    };
    let [init, exit] = &advice(&["init_module", "cleanup_module"])[..] else { panic!() };
    assert!(
        init.contains("have module_init(...): keep one") && exit.contains("have module_exit(...)"),
        "{init}"
    );
    let call = advice(&["__x64_sys_hello", "__ia32_sys_hello"]);
    assert_eq!(call, ["two files have SYSCALL_DEFINE...(hello, ...): remove one"]);
}

#[test]
fn modules_of_one_name_are_listed() {
    let error = first(
        "  LD [M]  /cache/m/b/x.ko\nerror: the following would cause module name conflict:\n  /cache/m/a/x.ko\n  /cache/m/b/x.ko\n  LD [M]  /cache/m/a/x.ko\n",
    );
    let all = [
        "error: the following would cause module name conflict:",
        "  mods/hello/a/x.ko",
        "  mods/hello/b/x.ko",
    ];
    assert_eq!(error.lines, all);
}

#[test]
fn beginners_errors_are_explained() {
    let error = first("make[2]: *** No rule to make target '/cache/m/gone.o', needed by 'x'.  Stop.");
    let advice = error.advice.join("\n");
    assert!(
        advice.contains("there is no gone.c") && advice.contains("the line gone-objs := ..."),
        "{advice}"
    );
    let error = first("/cache/m/Makefile:2: *** missing separator.  Stop.");
    assert!(error.advice.join("\n").contains("begins with a tab"));
    let error = first("ERROR: modpost: \"nosuch\" [/cache/m/hello.ko] undefined!");
    assert_eq!(error.undefined, ["nosuch"]);
    let error = first("/cache/m/a.c:1:10: fatal error: stdio.h: No such file or directory");
    assert!(error.advice.join("\n").contains("pr_info()"));
    let error = first("ERROR: modpost: missing MODULE_LICENSE() in /cache/m/a.o");
    assert!(error.advice.join("\n").contains("MODULE_LICENSE(\"GPL\");"));
}

#[test]
fn a_table_that_is_not_sorted_is_explained() {
    let source = tempfile::tempdir().unwrap();
    let table = source.path().join("arch/x86/entry/syscalls/syscall_64.tbl");
    crate::fixture::write(&table, "548 64 a sys_a\n548 64 b sys_b\n");
    let said =
        "error: /k/syscall_64.tbl: syscall table is not sorted or duplicates the same syscall number\n";
    let error = first_error(&lines(said), &Context { source: Some(source.path()), ..context() }).unwrap();
    assert!(error.advice[0].contains("the next free one is 549"), "{error:?}");
}

#[test]
fn what_a_module_may_not_use_is_explained_once_for_all_symbols() {
    let gpl = |symbol: &str| {
        format!("ERROR: modpost: GPL-incompatible module x.ko uses GPL-only symbol '{symbol}'\n")
    };
    let error = first(&format!("{}{}make[2]: *** [x] Error 1", gpl("class_create"), gpl("device_create")));
    assert_eq!(
        error.lines,
        [gpl("class_create").trim_end().to_owned(), "(and 1 more error)".to_owned()],
        "{error:?}"
    );
    let [advice] = &error.advice[..] else { panic!("{error:?}") };
    assert!(advice.ends_with("if yours may be GPL, write MODULE_LICENSE(\"GPL\");"), "{advice}");

    let import = |symbol: &str, namespace: &str| {
        format!(
            "ERROR: modpost: module x uses symbol {symbol} from namespace {namespace}, but does not import it.\n"
        )
    };
    let said = format!("{}{}{}", import("a", "USB_STORAGE"), import("b", "CXL"), import("c", "CXL"));
    let advice = |release| first_error(&lines(&said), &Context { release, ..context() }).unwrap().advice;
    let wanted = |lines: [&str; 2]| lines.map(|line| format!("write {line} beside MODULE_LICENSE"));
    assert_eq!(advice("6.12.117-vmm"), wanted(["MODULE_IMPORT_NS(USB_STORAGE);", "MODULE_IMPORT_NS(CXL);"]));
    let quoted = ["MODULE_IMPORT_NS(\"USB_STORAGE\");", "MODULE_IMPORT_NS(\"CXL\");"];
    assert_eq!(advice("6.13"), wanted(quoted));

    // As later kernels say it.
    let advice = |namespace| {
        let said = format!(
            "ERROR: modpost: x: module uses symbol 'a' from namespace '{namespace}', but does not import it.\n"
        );
        first_error(&lines(&said), &Context { release: "7.3.4", ..context() }).unwrap().advice
    };
    assert_eq!(advice("CXL"), wanted(quoted)[1..]);
    let [only] = &advice("module:kvm,kvm-*")[..] else { panic!() };
    assert!(only.ends_with("no other may import it: kvm,kvm-*; do without"), "{only}");
}

#[test]
fn a_place_may_be_left_out() {
    let text = lines("/cache/slot/source/kernel/fork.c:1:1: error: x");
    let error = first_error(
        &text,
        &Context { places: Places::of_kernel(Path::new("/cache/slot/source"), Path::new("")), ..context() },
    )
    .unwrap();
    assert_eq!(error.lines, ["kernel/fork.c:1:1: error: x"]);
}

#[test]
fn a_compiler_error_goes_before_what_follows_from_it() {
    let error = first("make: *** [a] Error 1\nERROR: modpost: x\na.c:1:1: fatal error: b.h: No such file");
    assert_eq!(error.lines, ["a.c:1:1: fatal error: b.h: No such file"]);
}

#[test]
fn a_module_that_is_a_part_of_itself_is_told_whatever_the_linker_says() {
    for linker in [
        "ld: input file '/cache/m/driver.o' is the same as output file",
        "ld: cannot find /cache/m/driver.o: No such file or directory",
        "ld.lld-19: error: cannot open /cache/m/driver.o: No such file or directory",
    ] {
        let error = first(&format!(
            "make[2]: Circular /cache/m/driver.o <- /cache/m/driver.o dependency dropped.\n  CC [M]  /cache/m/util.o\n  \
             LD [M]  /cache/m/driver.o\n{linker}\nmake[2]: *** [Makefile.build:430: /cache/m/driver.o] Error 1\n"
        ));
        assert_eq!(
            error.lines,
            ["make[2]: Circular mods/hello/driver.o <- mods/hello/driver.o dependency dropped."]
        );
        let advice = "the module driver can't be a part of itself: give driver.c another name, or the module";
        assert!(error.advice[0].starts_with(advice), "{error:?}");
    }
    // Other circles have other reasons.
    let error = first("make: Circular a.o <- b.o dependency dropped.\nld: x\n");
    assert_eq!(error.lines, ["ld: x"]);
}

#[test]
fn missing_packages_are_named() {
    let error = first("elf.h:10:10: fatal error: gelf.h: No such file or directory\n");
    assert!(error.advice.join("\n").contains("libelf-dev"));
    let error = first("/bin/sh: 1: bc: not found\nmake[1]: *** [timeconst.h] Error 127");
    assert!(error.advice.join("\n").contains("package bc "));
}

#[test]
fn warnings_are_kept_once_each() {
    let text =
        "a.c:1:1: warning: unused\n    1 | int x;\nmake: ok\na.c:1:1: warning: unused\n    1 | int x;\n";
    assert_eq!(warnings(&lines(text), &context()), ["a.c:1:1: warning: unused\n    1 | int x;"]);
}

#[test]
fn output_without_error_has_none() {
    assert_eq!(first_error(&lines("  CC a.o\n  LD vmlinux\n"), &context()), None);
    assert!(is_disk_full(&lines("ld: final link failed: No space left on device")));
    assert!(!is_disk_full(&lines("  CC a.o")));
}

#[test]
fn what_is_known_of_later_errors_is_told_too() {
    let error = first(
        "/cache/m/a.c:7:1: error: implicit declaration of function 'get_fs' [-W]\n    7 | old = get_fs();\n\
         /cache/m/a.c:7:9: error: 'KERNEL_DS' undeclared (first use in this function)\n    7 | set_fs(KERNEL_DS);\n\
         /cache/m/a.c:8:2: error: 'mine' undeclared (first use in this function)\n    8 |  mine = 1;\n\
         /cache/m/a.c:9:3: error: implicit declaration of function 'malloc' [-W]\n    9 |   malloc(3);\n\
         /cache/m/a.c:9:3: note: include '<stdlib.h>' or provide a declaration of 'malloc'\n  +++ |+#include <stdlib.h>\n",
    );
    assert_eq!(error.lines.last().unwrap(), "(and 3 more errors)");
    // One change is told once, whatever it broke.
    let [what, code, place, libc] = &error.advice[..] else { panic!("{error:?}") };
    assert!(what.starts_with("changed in Linux 5.10: ") && code.contains("kernel_read("), "{error:?}");
    assert!(place.starts_with("mods/hello/a.c:9:3: error: "), "{place}");
    assert!(libc.contains("kmalloc(size, GFP_KERNEL)"), "{libc}");
}

#[test]
fn all_undefined_symbols_are_shown() {
    let error = first(
        "ERROR: modpost: \"a\" [/cache/m/x.ko] undefined!\nERROR: modpost: \"kallsyms_lookup_name\" [/cache/m/x.ko] undefined!\n\
         ERROR: modpost: \"a\" [/cache/m/y.ko] undefined!\nmake[2]: *** [Makefile:1: x] Error 1",
    );
    assert_eq!((error.lines.len(), &error.undefined), (3, &vec!["a".to_owned()]));
    assert!(error.advice[0].starts_with("kallsyms_lookup_name: changed in Linux 5.7"), "{error:?}");
    // As later kernels say it.
    let error = first(
        "ERROR: modpost: x.ko: symbol 'a' undefined!\nERROR: modpost: x.ko: symbol 'b' undefined!\n\
         WARNING: modpost: suppressed 3 unresolved symbol warnings because there were too many)\n",
    );
    assert_eq!((error.lines.len(), error.undefined), (3, vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn a_misleading_note_of_the_compiler_is_left_out() {
    let error = first(
        "/cache/m/a.c:9:3: error: implicit declaration of function 'malloc' [-W]\n    9 |   malloc(3);\n\
         /cache/m/a.c:2:1: note: include '<stdlib.h>' or provide a declaration of 'malloc'\n    1 | #include <x.h>\n  +++ |+#include <stdlib.h>\n",
    );
    assert_eq!(error.lines.len(), 2, "{error:?}");
}
