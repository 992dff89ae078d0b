//! Where the kernel keeps what: offsets of fields, as the compiler laid them out for this configuration.
//!
//! No symbol tells them, and debug information that would is large and usually off. So a file that names them
//! is compiled like a module, to assembly, in which they stand as text; the kernel does the same for its own
//! assembly code (`include/linux/kbuild.h`). It takes a second or two and is done once a kernel.

use super::{Kernel, run, toolchain::Toolchain};
use base::cache::{Cache, CacheError};
use jail::{Budget, intake};
use std::{collections::BTreeMap, fs};

/// Kept beside the kernel under this name; the number goes up with every change to the list.
const FILE: &str = "offsets-6.json";

const MAKEFILE: &str = "obj-m := offsets.o waiting.o first.o\n";

/// The files: what a kernel does not have fails one of them and leaves the others.
const SOURCES: [(&str, &str); 3] = [("offsets", OFFSETS), ("waiting", WAITING), ("first", FIRST)];

const HEAD: &str = r#"
#include <linux/kallsyms.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/sched.h>
#include <linux/version.h>

#define VALUE(name, value) asm volatile("\n.ascii \"->" name " %c0\"" : : "i" (value))
#define FIELD(type, field) VALUE(#type "." #field, offsetof(struct type, field))

void offsets(void);
"#;

/// Locks that hold the head of a list of waiters.
const WAITING: &str = r#"
void offsets(void)
{
	FIELD(mutex, owner);
	FIELD(mutex, wait_list);
	FIELD(rw_semaphore, count);
	FIELD(rw_semaphore, owner);
	FIELD(rw_semaphore, wait_list);
}
"#;

/// Locks that point to the first waiter, as later kernels have them.
const FIRST: &str = r#"
void offsets(void)
{
	FIELD(mutex, owner);
	FIELD(mutex, first_waiter);
	FIELD(rw_semaphore, count);
	FIELD(rw_semaphore, owner);
	FIELD(rw_semaphore, first_waiter);
}
"#;

/// `struct module`'s memory regions are what they are since 6.4 (struct module_memory).
const OFFSETS: &str = r#"
void offsets(void)
{
	FIELD(task_struct, pid);
	FIELD(task_struct, tgid);
	FIELD(task_struct, comm);
	FIELD(task_struct, tasks);
	FIELD(task_struct, __state);
	FIELD(task_struct, flags);
	FIELD(task_struct, real_parent);
	FIELD(task_struct, nvcsw);
	FIELD(task_struct, nivcsw);
	FIELD(task_struct, stack);
	VALUE("task_struct.sp", offsetof(struct task_struct, thread.sp));
	FIELD(module, list);
	FIELD(module, name);
#ifdef CONFIG_KALLSYMS
	FIELD(module, kallsyms);
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	VALUE("module.text", offsetof(struct module, mem[MOD_TEXT].base));
	VALUE("module.text_size", offsetof(struct module, mem[MOD_TEXT].size));
	VALUE("module.init_text", offsetof(struct module, mem[MOD_INIT_TEXT].base));
	VALUE("module.init_text_size", offsetof(struct module, mem[MOD_INIT_TEXT].size));
#else
	VALUE("module.text", offsetof(struct module, core_layout.base));
	VALUE("module.text_size", offsetof(struct module, core_layout.size));
	VALUE("module.init_text", offsetof(struct module, init_layout.base));
	VALUE("module.init_text_size", offsetof(struct module, init_layout.size));
#endif
	FIELD(mod_kallsyms, symtab);
	FIELD(mod_kallsyms, num_symtab);
	FIELD(mod_kallsyms, strtab);
	VALUE("THREAD_SIZE", THREAD_SIZE);
}
"#;

/// Offsets in bytes by `struct.field`. A kernel that they can't be found for gives none: what needs them does
/// without.
pub(super) fn find(kernel: &Kernel, cache: &Cache) -> BTreeMap<String, u64> {
    let file = kernel.map.with_file_name(FILE);
    if let Some(known) = fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
        return known;
    }
    let Ok(found) = compile(kernel, cache) else { return BTreeMap::new() };
    if found.is_empty() {
        // What keeps it from compiling (headers that are missing) may be mended by the next time.
        return found;
    }
    // Nothing is lost where that fails but the time of the next attempt.
    let write = || -> std::io::Result<()> {
        let mut file_of_own = tempfile::NamedTempFile::new_in(file.parent().unwrap_or(&file))?;
        serde_json::to_writer(&mut file_of_own, &found)?;
        file_of_own.persist(&file)?;
        Ok(())
    };
    let _ = write();
    found
}

fn compile(kernel: &Kernel, cache: &Cache) -> Result<BTreeMap<String, u64>, CacheError> {
    let log = cache.log(&format!("offsets-{}", kernel.hash));
    let toolchain = Toolchain::find(&kernel.compiler, cache).without_ccache();
    let stage = cache.stage()?;
    let folder = stage.path();
    let sources = SOURCES.map(|(name, text)| (format!("{name}.c"), format!("{HEAD}{text}")));
    for (name, text) in sources.into_iter().chain([("Makefile".to_owned(), MAKEFILE.to_owned())]) {
        let path = folder.join(name);
        fs::write(&path, text).map_err(CacheError::io("write", &path))?;
    }
    let sandbox = kernel.sandbox(folder, Budget::MODULE, cache)?;
    let mut found = BTreeMap::new();
    // One by one: make removes what was made when another target fails.
    for (name, _) in SOURCES {
        let target = format!("{name}.s");
        let mut make = run::boxed(&sandbox, "make");
        make.arg("-C").arg(&kernel.build).arg(format!("M={}", folder.display()));
        toolchain.apply(&mut make);
        make.arg(&target).current_dir(folder);
        // What it can't do it says in the log.
        run::run_in(&sandbox, make, &log, None, |_| ())?;
        found.extend(parse(&intake::read_text(&folder.join(&target)).unwrap_or_default()));
    }
    Ok(found)
}

/// Takes the values out of the assembly: `.ascii "->name value"`.
fn parse(assembly: &str) -> BTreeMap<String, u64> {
    let value = |line: &str| {
        // clang writes a tab for the blank; a comment may follow.
        let (text, _) = line.trim().strip_prefix(".ascii")?.trim().strip_prefix("\"->")?.split_once('"')?;
        let (name, value) = text.split_once(' ')?;
        Some((name.to_owned(), value.trim_start_matches('$').parse().ok()?))
    };
    assembly.lines().filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_out_of_assembly() {
        let text = "#APP\n\n.ascii \"->task_struct.pid 1234\"\t#\n# 0 \"\" 2\n\t.ascii\t\"->module.name $24\"\n.ascii \"x\"\n";
        let expected = [("module.name".to_owned(), 24), ("task_struct.pid".to_owned(), 1234)];
        assert_eq!(parse(text), expected.into());
    }
}
