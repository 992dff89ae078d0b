//! With objects that a real compiler made, as the kernel's build system does.

use super::*;
use proptest::prelude::*;
use std::{fs, process::Command};
use tempfile::TempDir;

/// Three functions, each at the start of its section, as in a module; the lines of interest are numbered.
const MODULE: &str = "\
#define __init __attribute__((section(\".init.text\"), noinline))
#define __exit __attribute__((section(\".exit.text\"), noinline))
void outside(int);
static inline __attribute__((always_inline)) void within(int x)
{
	outside(x + 1); /* 6 */
}
__init int demo_init(void)
{
	within(2); /* 10 */
	return 0;
}
__exit void demo_exit(void)
{
	outside(3); /* 15 */
	outside(4); /* 16 */
}
static __attribute__((noinline)) int twin(int x)
{
	outside(x); /* 20 */
	return x;
}
int demo_write(int x)
{
	return twin(x) + 1; /* 25 */
}
";

/// Has a function of the same name.
const OTHER: &str = "\
void outside(int);
static __attribute__((noinline)) int twin(int x)
{
	outside(x); outside(x); outside(x); /* 4 */
	return x;
}
int other_write(int x)
{
	return twin(x) + 2;
}
";

struct Objects {
    folder: TempDir,
}

impl Objects {
    fn new() -> Self {
        let objects = Self { folder: tempfile::tempdir().unwrap() };
        for (name, text) in [("demo.c", MODULE), ("other.c", OTHER)] {
            fs::write(objects.path(name), text).unwrap();
        }
        objects
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, command: &[&str]) {
        let mut run = Command::new(command[0]);
        let ran = run.args(&command[1..]).current_dir(self.folder.path()).output().unwrap();
        assert!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
    }

    /// A relocatable file of both sources, as `ld -r` makes modules.
    fn module(&self, options: &[&str]) -> PathBuf {
        for source in ["demo.c", "other.c"] {
            let object = source.replace(".c", ".o");
            let mut command = vec!["gcc", "-c", "-O2", "-ffreestanding", "-fno-pic", "-mcmodel=kernel"];
            command.extend(options);
            command.extend([source, "-o", &object]);
            self.run(&command);
        }
        self.run(&["ld", "-r", "demo.o", "other.o", "-o", "demo.ko"]);
        self.path("demo.ko")
    }

    /// What nm says: the place in its section, and the size.
    fn symbol(&self, file: &str, name: &str) -> (u64, u64) {
        let output = Command::new("nm").args(["-S", file]).current_dir(self.folder.path()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find(|line| line.ends_with(&format!(" {name}"))).unwrap();
        let hex = |field: &str| u64::from_str_radix(field, 16).unwrap();
        let mut fields = line.split(' ');
        (hex(fields.next().unwrap()), hex(fields.next().unwrap()))
    }
}

fn of_module(path: PathBuf) -> Lines {
    Lines::new(None, [("de-mo".to_owned(), path)], &[])
}

fn code(function: &str, offset: u64, size: Option<u64>) -> Code {
    Code::Named { function: function.to_owned(), offset, size, module: Some("de_mo".to_owned()) }
}

/// Lines at every place of a function, in the order of places, each once.
fn all_lines(lines: &Lines, function: &str, size: u64) -> Vec<u32> {
    let found = (0..size).filter_map(|offset| lines.find(&code(function, offset, None), Stands::Here));
    let mut all: Vec<u32> = found.map(|place| place.line).collect();
    all.dedup();
    all
}

#[test]
fn lines_of_a_module_come_from_the_section_that_is_meant() {
    for options in [&["-g"][..], &["-gdwarf-4"], &["-g", "-gz"]] {
        let objects = Objects::new();
        let lines = of_module(objects.module(options));
        let source = objects.path("demo.c").display().to_string();
        let place = lines.find(&code("demo_init", 0, None), Stands::Here).unwrap();
        assert_eq!((place.file, place.line), (source, 9), "{options:?}");

        // The call of what was inlined counts, and not the line in there.
        let init = all_lines(&lines, "demo_init", objects.symbol("demo.ko", "demo_init").1);
        assert!(init.contains(&10) && !init.contains(&6), "{options:?}: {init:?}");
        let exit = all_lines(&lines, "demo_exit", objects.symbol("demo.ko", "demo_exit").1);
        assert!(exit.contains(&15) && exit.contains(&16), "{options:?}: {exit:?}");
    }
}

#[test]
fn the_address_behind_a_call_stands_for_the_call() {
    let objects = Objects::new();
    let lines = of_module(objects.module(&["-g", "-O0", "-fcf-protection=none"]));
    let (_, size) = objects.symbol("demo.ko", "demo_exit");
    let at = |offset, stands| lines.find(&code("demo_exit", offset, None), stands).unwrap().line;
    // The first place of line 16 is behind the call in line 15.
    let behind = (0..size).find(|offset| at(*offset, Stands::Here) == 16).unwrap();
    assert_eq!(at(behind, Stands::BehindCall), 15);
    assert_eq!(at(0, Stands::BehindCall), 14, "there is nothing before a function's start");
}

#[test]
fn functions_of_one_name_need_their_size() {
    let objects = Objects::new();
    let module = objects.module(&["-g"]);
    let lines = of_module(module);
    assert_eq!(lines.find(&code("twin", 1, None), Stands::Here), None);
    let place = |function: &str| {
        // The kernel's sizes reach to the next function.
        let (start, _) = objects.symbol("demo.o", function);
        let (next, _) = objects.symbol("demo.o", "demo_write");
        next - start
    };
    let found = lines.find(&code("twin", 1, Some(place("twin"))), Stands::Here).unwrap();
    assert!(found.file.ends_with("demo.c") && [18, 19, 20].contains(&found.line), "{found:?}");
}

#[test]
fn a_linked_kernel_is_asked_by_address_and_shown_from_its_root() {
    let objects = Objects::new();
    fs::create_dir_all(objects.path("source/init")).unwrap();
    fs::create_dir_all(objects.path("build")).unwrap();
    let main = "void panic(void) { for (;;) ; }\nvoid start_kernel(void)\n{\n\tpanic(); /* 4 */\n}\n";
    fs::write(objects.path("source/init/main.c"), main).unwrap();
    let build = "cd build && gcc -g -O0 -fcf-protection=none -nostdlib -static -Wl,-e,start_kernel -o vmlinux \
                 ../source/init/main.c";
    objects.run(&["sh", "-c", build]);
    let lines = Lines::new(Some(objects.path("build/vmlinux")), [], &[]);
    let (start, size) = objects.symbol("build/vmlinux", "start_kernel");
    // What a vCPU stands at may be any number.
    assert_eq!(lines.find(&Code::Linked(u64::MAX), Stands::Here), None);
    let place = |line| Some(Place { file: "init/main.c".to_owned(), line });
    assert_eq!(lines.find(&Code::Linked(start), Stands::Here), place(3));
    let named =
        |offset| Code::Named { function: "start_kernel".to_owned(), offset, size: Some(size), module: None };
    let found: Vec<_> = (0..size).map(|offset| lines.find(&named(offset), Stands::Here)).collect();
    assert!(found.contains(&place(4)), "{found:?}");
    assert_eq!(lines.find(&Code::Linked(8), Stands::Here), None);
    assert_eq!(lines.find(&Code::Linked(0), Stands::BehindCall), None);
}

#[test]
fn what_has_no_debug_info_has_no_lines() {
    let objects = Objects::new();
    let module = objects.module(&[]);
    assert_eq!(of_module(module).find(&code("demo_init", 0, None), Stands::Here), None);
    for path in ["/nowhere", "/", "/dev/null", "/dev/zero", "/etc/passwd"] {
        assert_eq!(of_module(path.into()).find(&code("demo_init", 0, None), Stands::Here), None);
    }
    let absent = Code::Named { function: "f".into(), offset: 0, size: None, module: Some("absent".into()) };
    assert_eq!(of_module("/nowhere".into()).find(&absent, Stands::Here), None);
}

/// Sections are laid out one behind the other, and the last one may say that it ends where addresses do.
#[test]
fn sections_of_code_without_end_have_no_lines() {
    let objects = Objects::new();
    let path = objects.module(&["-g"]);
    let mut bytes = fs::read(&path).unwrap();
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().unwrap());
    // Elf64_Ehdr: e_shoff at 0x28, e_shnum at 0x3c; Elf64_Shdr of 64 bytes: sh_flags at 8, sh_size at 32.
    let (start, count) = (word(&bytes, 0x28) as usize, usize::from(bytes[0x3c]));
    for header in (0..count).map(|index| start + index * 64) {
        const SHF_EXECINSTR: u64 = 4;
        if word(&bytes, header + 8) & SHF_EXECINSTR != 0 {
            bytes[header + 32..header + 40].copy_from_slice(&(!0xfff - (1u64 << 20)).to_le_bytes());
        }
    }
    fs::write(&path, bytes).unwrap();
    assert_eq!(of_module(path).find(&code("demo_init", 0, None), Stands::Here), None);
}

#[test]
fn compressed_modules_have_lines_too() {
    let objects = Objects::new();
    objects.module(&["-g"]);
    objects.run(&["gzip", "demo.ko"]);
    let found = of_module(objects.path("demo.ko.gz")).find(&code("demo_init", 0, None), Stands::Here);
    assert_eq!(found.map(|place| place.line), Some(9));
}

#[test]
fn tables_of_abbreviations_in_one_another_are_not_read() {
    let objects = Objects::new();
    // A second unit, whose table begins there. Of as many as a table has places each would be read to the table's end.
    let found = |second: usize| {
        let text = format!(
            r#"
        .file 1 "many.c"
        .text
        .globl many
        .type many, @function
many:   .loc 1 7
        nop
        ret
        .size many, 2
        .section .debug_abbrev
        .rept 2
        .byte 1, 0x11, 0, 0x11, 1, 0x12, 7, 0x10, 0x17, 0, 0
        .byte 2, 0x11, 0, 0x11, 1, 0x12, 7, 0, 0
        .byte 0
        .endr
        .section .debug_line
lines:
        .section .debug_info
        .long end - begin
begin:  .short 4
        .long 0
        .byte 8
        .byte 1
        .quad many
        .quad 2
        .long lines
end:
        .long end2 - begin2
begin2: .short 4
        .long {second}
        .byte 8
        .byte 2
        .quad many + 2
        .quad 0
end2:
"#
        );
        fs::write(objects.path("many.s"), text).unwrap();
        objects.run(&["as", "many.s", "-o", "many.ko"]);
        let found = of_module(objects.path("many.ko")).find(&code("many", 0, None), Stands::Here);
        found.map(|place| place.line)
    };
    assert_eq!([0, 21].map(found), [Some(7); 2], "the same table, or one of its own");
    assert_eq!(found(11), None, "a part of the first");
}

/// What reads inlined functions goes down by recursion: a module whose debug info nests them without end must not
/// take the harness with it.
#[test]
fn debug_info_that_nests_without_end_overflows_no_stack() {
    let objects = Objects::new();
    let depth = 400_000;
    let text = format!(
        r#"
        .file 1 "deep.c"
        .text
        .globl deep
        .type deep, @function
deep:   .loc 1 7
        nop
        ret
        .size deep, 2
        .section .debug_abbrev
        .byte 1, 0x11, 1, 0x11, 1, 0x12, 7, 0x10, 0x17, 0, 0
        .byte 2, 0x2e, 1, 0x11, 1, 0x12, 7, 0, 0
        .byte 3, 0x1d, 1, 0x11, 1, 0x12, 7, 0, 0
        .byte 0
        .section .debug_line
lines:
        .section .debug_info
        .long end - begin
begin:  .short 4
        .long 0
        .byte 8
        .byte 1
        .quad deep
        .quad 2
        .long lines
        .byte 2
        .quad deep
        .quad 2
        .rept {depth}
        .byte 3
        .quad deep
        .quad 2
        .endr
        .rept {depth}
        .byte 0
        .endr
        .byte 0, 0
end:
"#
    );
    fs::write(objects.path("deep.s"), text).unwrap();
    objects.run(&["as", "deep.s", "-o", "deep.ko"]);
    let found = of_module(objects.path("deep.ko")).find(&code("deep", 0, None), Stands::Here);
    assert_eq!(found.map(|place| place.line), Some(7));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Modules are the work of people who are graded.
    #[test]
    fn damaged_modules_do_no_harm(damage in prop::collection::vec((any::<u32>(), any::<u8>()), 1..40), cut in 0u32..3) {
        use std::sync::OnceLock;
        static MODULE_BYTES: OnceLock<Vec<u8>> = OnceLock::new();
        let whole = MODULE_BYTES.get_or_init(|| fs::read(Objects::new().module(&["-g"])).unwrap());
        let mut bytes = whole.clone();
        for (at, value) in &damage {
            let length = bytes.len();
            bytes[*at as usize % length] = *value;
        }
        if cut == 0 {
            bytes.truncate(damage[0].0 as usize % whole.len());
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        let lines = of_module(file.path().to_owned());
        for function in ["demo_init", "demo_exit", "demo_write", "twin"] {
            for offset in 0..8 {
                let _ = lines.find(&code(function, offset, Some(0x20)), Stands::BehindCall);
                let _ = lines.find(&code(function, offset, None), Stands::Here);
            }
        }
    }
}
