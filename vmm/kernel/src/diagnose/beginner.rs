//! What errors mean that people meet who know C, and not yet the kernel.

use super::{changes, message::Message};
use regex::Regex;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};
use walkdir::WalkDir;

/// What is missing when a build says this.
const MISSING: &[(&str, &str)] = &[
    ("gelf.h", "libelf-dev"),
    ("libelf.h", "libelf-dev"),
    ("openssl/", "libssl-dev"),
    ("bc: not found", "bc"),
    ("bc: command not found", "bc"),
    ("flex: not found", "flex"),
    ("bison: not found", "bison"),
    ("cpio: not found", "cpio"),
    ("lz4: not found", "lz4"),
    ("zstd: not found", "zstd"),
    ("pahole: not found", "pahole"),
    ("libclang", "libclang-19-dev"),
];

/// Headers that programs begin with, and modules can't have.
const LIBC_HEADERS: &[&str] = &[
    "assert.h",
    "ctype.h",
    "errno.h",
    "fcntl.h",
    "inttypes.h",
    "limits.h",
    "math.h",
    "memory.h",
    "pthread.h",
    "signal.h",
    "stdbool.h",
    "stdint.h",
    "stdio.h",
    "stdlib.h",
    "string.h",
    "strings.h",
    "sys/ioctl.h",
    "sys/mman.h",
    "sys/stat.h",
    "sys/syscall.h",
    "sys/time.h",
    "sys/types.h",
    "time.h",
    "unistd.h",
];

/// Functions of the C library, and what does their work in the kernel.
const LIBC: &[(&str, &str)] = &[
    ("malloc", "kmalloc(size, GFP_KERNEL) of linux/slab.h; kfree() gives it back"),
    ("calloc", "kcalloc(count, size, GFP_KERNEL) of linux/slab.h; kfree() gives it back"),
    ("realloc", "krealloc(pointer, size, GFP_KERNEL) of linux/slab.h"),
    ("free", "kfree(pointer) of linux/slab.h"),
    ("printf", "pr_info(\"...\\n\") of linux/printk.h"),
    ("fprintf", "pr_err(\"...\\n\") of linux/printk.h"),
    ("puts", "pr_info(\"...\\n\") of linux/printk.h"),
    ("putchar", "pr_cont(\"%c\", c) of linux/printk.h"),
    ("perror", "pr_err(\"...: %pe\\n\", ERR_PTR(error)) of linux/printk.h"),
    ("strerror", "the format %pe with ERR_PTR(error)"),
    ("exit", "returning an error, such as -EINVAL"),
    ("abort", "BUG(), or better WARN_ON(condition) and an error"),
    ("assert", "WARN_ON(!condition) of linux/bug.h"),
    ("sleep", "ssleep(seconds) of linux/delay.h"),
    ("usleep", "usleep_range(from, to) of linux/delay.h"),
    ("nanosleep", "usleep_range(from, to) of linux/delay.h"),
    ("time", "ktime_get_real_seconds() of linux/timekeeping.h"),
    ("gettimeofday", "ktime_get_real_ts64(&now) of linux/timekeeping.h"),
    ("clock", "ktime_get() of linux/timekeeping.h"),
    ("atoi", "kstrtoint(text, 10, &number) of linux/kstrtox.h"),
    ("atol", "kstrtol(text, 10, &number) of linux/kstrtox.h"),
    ("strtol", "kstrtol(text, 10, &number) of linux/kstrtox.h"),
    ("strtoul", "kstrtoul(text, 10, &number) of linux/kstrtox.h"),
    ("strdup", "kstrdup(text, GFP_KERNEL) of linux/string.h"),
    ("strtok", "strsep(&text, \" \") of linux/string.h"),
    ("qsort", "sort(array, count, size, compare, NULL) of linux/sort.h"),
    ("rand", "get_random_u32() of linux/random.h"),
    ("random", "get_random_u32() of linux/random.h"),
    ("srand", "nothing; get_random_u32() of linux/random.h needs no seed"),
    ("open", "filp_open(path, flags, mode) of linux/fs.h"),
    ("fopen", "filp_open(path, flags, mode) of linux/fs.h"),
    ("close", "filp_close(file, NULL) of linux/fs.h"),
    ("fclose", "filp_close(file, NULL) of linux/fs.h"),
    ("read", "kernel_read(file, buffer, size, &position) of linux/fs.h"),
    ("write", "kernel_write(file, buffer, size, &position) of linux/fs.h"),
    ("getpid", "task_tgid_nr(current) of linux/sched.h"),
    ("getuid", "from_kuid(&init_user_ns, current_uid()) of linux/cred.h"),
    ("kill", "send_sig(signal, task, 1) of linux/sched/signal.h"),
    ("fork", "kthread_run(function, data, \"name\") of linux/kthread.h"),
    ("system", "call_usermodehelper(path, argv, envp, UMH_WAIT_PROC) of linux/umh.h"),
    ("pthread_create", "kthread_run(function, data, \"name\") of linux/kthread.h"),
    ("pthread_mutex_lock", "mutex_lock(&lock) of linux/mutex.h"),
    ("pthread_mutex_unlock", "mutex_unlock(&lock) of linux/mutex.h"),
    ("sem_wait", "down(&semaphore) of linux/semaphore.h"),
    ("sem_post", "up(&semaphore) of linux/semaphore.h"),
    ("errno", "the negative number that a function returned"),
];

/// The package that a build misses, wherever in its message it says so.
pub fn missing_package(shown: &[String]) -> Option<String> {
    let (_, package) = MISSING.iter().find(|(said, _)| shown.iter().any(|line| line.contains(said)))?;
    Some(format!("install the package {package} (./setup installs all that builds need)"))
}

/// What a compiler's error means. `headers` are the kernel's.
pub fn of_compiler(message: &Message, headers: Option<&Path>) -> Option<String> {
    let text = &*message.text;
    let header = text
        .strip_suffix(": No such file or directory")
        .or_else(|| text.strip_suffix("' file not found").and_then(|text| text.strip_prefix('\'')));
    if let Some(header) = header {
        if LIBC_HEADERS.contains(&header) {
            let advice = "the kernel has no C library; its own headers begin with linux/, and pr_info() of linux/printk.h \
                          is its printf()";
            return Some(advice.to_owned());
        }
        let near = headers.and_then(|headers| same_name(headers, header))?;
        return Some(format!("this kernel has <{near}>"));
    }
    let name = changes::undeclared(text)?;
    let found = declaring(headers?, name);
    match &found[..] {
        [] if text.contains("function '") => {
            Some(format!("no header of this kernel declares a function or macro {name}()"))
        }
        [] => None,
        [header, ..] => Some(format!("<{header}> declares it: #include <{header}>")),
    }
}

/// What the kernel has for a function of the C library.
pub fn of_libc(message: &Message) -> Option<String> {
    let name = changes::undeclared(&message.text)?;
    let (_, instead) = LIBC.iter().find(|(libc, _)| *libc == name)?;
    Some(format!("{name} is the C library's, which the kernel has not; here it is {instead}"))
}

/// What it means that make drops a circle: of `x-objs := x.o y.o` the kernel's build system makes the rule that x.o is linked
/// from itself (`ld_multi_m` in scripts/Makefile.build), so that x.c is never compiled.
pub fn of_circle(line: &str) -> Option<String> {
    let (_, circle) = line.strip_suffix(" dependency dropped.")?.split_once(": Circular ")?;
    let (of, from) = circle.split_once(" <- ")?;
    let module = Path::new(of).file_name()?.to_str()?.strip_suffix(".o").filter(|_| of == from)?;
    Some(format!(
        "the module {module} can't be a part of itself: give {module}.c another name, or the module (`obj-m`, and what stands \
         before `-objs` or `-y`)"
    ))
}

/// What an error of make means.
pub fn of_other(error: &str) -> Option<String> {
    if let Some((_, rest)) = error.split_once("*** No rule to make target '") {
        let object = Path::new(rest.split('\'').next()?);
        let stem =
            object.file_stem().filter(|_| object.extension().is_some_and(|it| it == "o" || it == "ko"))?;
        let stem = stem.to_string_lossy();
        return Some(format!(
            "a makefile names it, but there is no {stem}.c, {stem}.rs or {stem}.S to make it from, nor the line {stem}-objs := ... that \
             lists its parts"
        ));
    }
    if error.contains("*** missing separator") || error.contains("*** recipe commences before") {
        let advice = "a command begins with a tab, not with spaces, and stands below the target that it makes; nothing else begins \
                      with a tab";
        return Some(advice.to_owned());
    }
    None
}

/// A header of the same file name elsewhere in the kernel's headers: `linux/unaligned.h` for `asm/unaligned.h`.
fn same_name(headers: &Path, header: &str) -> Option<String> {
    let name = Path::new(header).file_name()?;
    let places = ["linux", "net", "crypto", "uapi/linux", "generated"];
    let found = places.into_iter().find(|place| headers.join(place).join(name).is_file())?;
    Some(format!("{}/{}", found.trim_start_matches("uapi/"), name.display()))
}

/// The headers that declare a function or define a macro of this name, as one includes them, the likeliest first.
fn declaring(headers: &Path, name: &str) -> Vec<String> {
    // A declaration begins at a line's beginning, and so does a definition; a use is indented. A function's name may
    // stand on the line behind its type.
    let pattern = format!(r"(?m)^(?:#\s*define\s+{name}\b|(?:[A-Za-z_][^;={{}}()\n]*[\s*])?{name}\s*\()");
    let Ok(pattern) = Regex::new(&pattern) else { return Vec::new() };
    let mut found = BTreeSet::new();
    for entry in WalkDir::new(headers).into_iter().flatten() {
        if entry.path().extension().is_none_or(|ending| ending != "h") {
            continue;
        }
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        if text.contains(name)
            && pattern.is_match(&text)
            && let Ok(inside) = entry.path().strip_prefix(headers)
        {
            found.extend(includable(headers, inside));
        }
    }
    found.into_iter().map(|(_, header)| header).collect()
}

/// How one includes a header, with a rank: asm-generic's are reached by way of linux's.
fn includable(headers: &Path, inside: &Path) -> Option<(usize, String)> {
    static PLACES: LazyLock<Vec<PathBuf>> =
        LazyLock::new(|| ["linux", "net", "asm-generic"].map(PathBuf::from).into());
    let folder = inside.components().next()?;
    let rank = PLACES.iter().position(|place| place.as_os_str() == folder.as_os_str());
    let linux = Path::new("linux").join(inside.file_name()?);
    if rank == Some(2) && headers.join(&linux).is_file() {
        return Some((0, linux.display().to_string()));
    }
    let inside = inside.strip_prefix("uapi").unwrap_or(inside);
    // The shallower, the more it is meant for everybody.
    let depth = inside.components().count();
    Some((rank.map_or(1000, |rank| rank * 100) + depth, inside.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::write;

    fn headers() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write(&at("linux/slab.h"), "#define kmalloc(size)  x(size)\nvoid kfree(const void *p);\n");
        write(&at("linux/delay.h"), "#include <asm/delay.h>\n");
        write(&at("asm-generic/delay.h"), "#define udelay(n) \\\n\tx(n)\n");
        write(&at("linux/early.h"), "static inline int f(void)\n{\n\tint x = kfree(y);\n\treturn x;\n}\n");
        write(&at("linux/deep/more.h"), "extern struct thing *\nthing_get(void);\n");
        write(&at("linux/unaligned.h"), "");
        folder
    }

    fn advice(text: &str) -> Option<String> {
        let lines = vec![format!("a.c:1:1: error: {text}")];
        let message = &super::super::message::messages(&lines)[0];
        of_libc(message).or_else(|| of_compiler(message, Some(headers().path())))
    }

    #[test]
    fn functions_of_the_c_library_have_a_counterpart() {
        for text in [
            "implicit declaration of function 'malloc' [-Werror=implicit-function-declaration]",
            "call to undeclared library function 'malloc' with type 'void *(unsigned long)'; ISO C99",
        ] {
            assert!(advice(text).unwrap().contains("kmalloc(size, GFP_KERNEL)"), "{text}");
        }
        assert!(advice("'errno' undeclared (first use in this function)").unwrap().contains("returned"));
    }

    #[test]
    fn a_missing_include_is_named() {
        let of = |name: &str| advice(&format!("implicit declaration of function '{name}'"));
        assert_eq!(of("kfree").unwrap(), "<linux/slab.h> declares it: #include <linux/slab.h>");
        assert!(of("udelay").unwrap().contains("#include <linux/delay.h>"));
        assert!(of("thing_get").unwrap().contains("#include <linux/deep/more.h>"));
        assert!(of("frobnicate").unwrap().contains("no header of this kernel declares"));
        assert_eq!(advice("'kfrob' undeclared (first use in this function)"), None);
    }

    #[test]
    fn a_header_that_moved_is_found() {
        for text in ["asm/unaligned.h: No such file or directory", "'asm/unaligned.h' file not found"] {
            assert_eq!(advice(text).unwrap(), "this kernel has <linux/unaligned.h>");
        }
        assert!(advice("stdio.h: No such file or directory").unwrap().contains("no C library"));
        assert_eq!(advice("asm/nowhere.h: No such file or directory"), None);
    }
}
