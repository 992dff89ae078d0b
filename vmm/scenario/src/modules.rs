//! Modules and files that a scenario names: they must be there before anything is built.

use super::model::{ConfigNeed, GuestFile, GuestFileKind, ModuleKind, ModuleSource, Span};
use super::node::{Node, Value};
use super::reader::Reader;
use base::diagnostic::{Diagnostic, nearest};
use base::{kbuild, module::is_same_module, text::plain, unpack};
use jail::{
    Limits,
    intake::{self, Tally},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

impl Reader<'_> {
    fn beside(&self, path: &str) -> PathBuf {
        self.source.path().parent().unwrap_or(Path::new("")).join(path)
    }

    /// `modules`.
    pub fn modules(&mut self, node: &Node) {
        for node in
            self.items(node, "a list of module folders like `[../modules/chardev]`").unwrap_or_default()
        {
            let Some(source) = self.module_source(node) else {
                // Nothing is known of it, so any module may be its.
                let unknown = ModuleSource {
                    path: PathBuf::new(),
                    kind: ModuleKind::Folder,
                    names: Vec::new(),
                    line: self.line(&node.span),
                };
                self.modules.push(unknown);
                continue;
            };
            let taken = |name: &&String| self.modules.iter().any(|other| other.names.contains(name));
            if let Some(name) = source.names.iter().find(taken).cloned() {
                self.errors.push(Diagnostic::new(&node.span, format!("a second module named `{name}`")));
            }
            self.modules.push(source);
        }
    }

    fn module_source(&mut self, node: &Node) -> Option<ModuleSource> {
        const WHAT: &str = "a module's folder or its `.ko` file";
        let text = self.text(node, WHAT)?;
        let path = self.beside(&text);
        let line = self.line(&node.span);
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) => {
                let error = Diagnostic::new(
                    &node.span,
                    format!("can't find the module folder {}: {}", path.display(), plain(&error)),
                );
                return self.error(self.neighbours(&path, error));
            }
        };
        let name = path.file_name().and_then(|name| name.to_str()).and_then(unpack::module_name);
        if metadata.is_dir() && name.is_some() {
            return self.error(
                Diagnostic::new(
                    &node.span,
                    format!("{} is a folder, by its name it is a module's file", path.display()),
                )
                .help("name the `.ko` file itself, or rename the folder that holds a module's source"),
            );
        }
        if metadata.is_file() {
            let Some(name) = name else { return self.expected(node, WHAT) };
            let names = vec![name.to_owned()];
            return Some(ModuleSource { path, kind: ModuleKind::Object, names, line });
        }
        let makefile = kbuild::READ.into_iter().map(|name| path.join(name)).find(|path| path.is_file());
        let Some(makefile) = makefile else {
            let help = match kbuild::misnamed(&path) {
                Some(name) => kbuild::advice(&path, name),
                None => "a module's folder needs a Makefile with a line like `obj-m += hello.o`".to_owned(),
            };
            return self.error(
                Diagnostic::new(
                    &node.span,
                    format!("{} has neither a Kbuild nor a Makefile", path.display()),
                )
                .help(help),
            );
        };
        let names = intake::read_text(&makefile).map(|text| object_names(&text));
        Some(ModuleSource { path, kind: ModuleKind::Folder, names: names.unwrap_or_default(), line })
    }

    /// What stands where the missing path should be.
    fn neighbours(&self, path: &Path, error: Diagnostic) -> Diagnostic {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return error };
        let mut names: Vec<String> = fs::read_dir(parent)
            .map(|list| {
                list.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
            })
            .unwrap_or_default();
        names.sort();
        let error = error.nearest(&name.to_string_lossy(), names.iter().map(String::as_str));
        error.help(format!("paths are relative to the folder of {}", self.source.path().display()))
    }

    /// What a module goes by that `modules` brings. Which aliases there are is known once they are built; what is nearly a module's name, and
    /// said nowhere, is a typo.
    pub fn module_or_alias(&mut self, node: &Node) -> Option<String> {
        let name = self.module_name(node)?;
        let names = || self.modules.iter().flat_map(|module| &module.names);
        let is_typo = nearest(&name, names().map(String::as_str)).is_some()
            && !names().any(|known| is_same_module(known, &name))
            && !self.brings_names
            && !self.source.text().contains("modprobe.d")
            && !self.modules.iter().any(|module| may_say(module, &name));
        if is_typo || self.modules.is_empty() { self.module(node) } else { Some(name) }
    }

    fn module_name(&mut self, node: &Node) -> Option<String> {
        let name = self.text(node, "a module's name like `chardev`")?;
        if name.is_empty()
            || name.len() > 55
            || name.starts_with('.')
            || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        {
            // 56 bytes with the NUL: MODULE_NAME_LEN, include/linux/module.h.
            return self.expected(node, "a module's name: up to 55 letters, digits, `_`, `-` and `.`");
        }
        Some(name)
    }

    /// The name of a module that `modules` brings.
    pub fn module(&mut self, node: &Node) -> Option<String> {
        let name = self.module_name(node)?;
        let known: Vec<&str> =
            self.modules.iter().flat_map(|module| &module.names).map(String::as_str).collect();
        let anything = self.modules.iter().any(|module| module.names.is_empty());
        if anything || known.iter().any(|known| is_same_module(known, &name)) {
            return Some(name);
        }
        let error = Diagnostic::new(&node.span, format!("no module named `{name}` comes of `modules`"))
            .nearest(&name, known.iter().copied());
        let error = if known.is_empty() {
            error.help(format!("name its folder: `modules: [../modules/{name}]`"))
        } else {
            error
        };
        self.error(error)
    }

    /// `needs`: what the kernel must have.
    pub fn needs(&mut self, node: &Node) -> Vec<ConfigNeed> {
        const WHAT: &str = "a configuration symbol like `CONFIG_KPROBES` or `CONFIG_HZ=250`";
        let Some(mut fields) = self.fields(node, "`needs` (like `{config: [CONFIG_KPROBES]}`)") else {
            return Vec::new();
        };
        let mut needs = Vec::new();
        let list = fields.take("config").and_then(|node| self.items(node, WHAT));
        for node in list.unwrap_or_default() {
            let Some(text) = self.text(node, WHAT) else { continue };
            let (symbol, value) = match text.split_once('=') {
                Some((symbol, value)) => (symbol, Some(value.trim_matches('"').to_owned())),
                None => (&*text, None),
            };
            let name = symbol.strip_prefix("CONFIG_").unwrap_or_default();
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                self.expected::<()>(node, WHAT);
                continue;
            }
            needs.push(ConfigNeed { symbol: symbol.to_owned(), value, span: node.span.clone() });
        }
        fields.end(self, &["config"]);
        needs
    }

    /// `files`: guest path to host path.
    pub fn files(&mut self, node: &Node) -> Vec<GuestFile> {
        let Some(mut fields) = self.fields(node, "`files` (like `{/bin/tool: ./tool}`)") else {
            return Vec::new();
        };
        let mut files = Vec::new();
        for (guest, key, node) in fields.rest() {
            let root = guest == "/";
            let Some(host) = self.brought(guest, key, node) else { continue };
            match fs::metadata(&host) {
                Ok(metadata) if metadata.is_file() && !root => {
                    let (kind, line) = (GuestFileKind::File, self.line(key));
                    files.push(GuestFile { kind, host, guest: guest.to_owned(), line });
                }
                Ok(metadata) if metadata.is_dir() => match folder(&host, guest, self.line(key)) {
                    Ok(inside) => files.extend(inside),
                    Err(why) => self.errors.push(Diagnostic::new(&node.span, why)),
                },
                Ok(_) => {
                    let message = format!("{} is neither a file nor a folder", host.display());
                    self.errors.push(Diagnostic::new(&node.span, message));
                }
                Err(error) => self.not_there(&host, node, &error),
            }
        }
        files
    }

    /// `programs`: guest path to a source in C on this machine.
    pub fn programs(&mut self, node: &Node) -> Vec<GuestFile> {
        let Some(mut fields) = self.fields(node, "`programs` (like `{/bin/call: ./call.c}`)") else {
            return Vec::new();
        };
        let mut files = Vec::new();
        for (guest, key, node) in fields.rest() {
            let Some(host) = self.brought(guest, key, node) else { continue };
            match fs::metadata(&host) {
                Ok(metadata) if metadata.is_file() && host.extension().is_some_and(|it| it == "c") => {
                    let (kind, line) = (GuestFileKind::Program, self.line(key));
                    files.push(GuestFile { kind, host, guest: guest.to_owned(), line });
                }
                Ok(_) => {
                    let message = format!("{} is no source of a program in C (`NAME.c`)", host.display());
                    let help = "what is built already goes into `files`";
                    self.errors.push(Diagnostic::new(&node.span, message).help(help));
                }
                Err(error) => self.not_there(&host, node, &error),
            }
        }
        files
    }

    /// Where something is on this machine that goes to this path of the guest.
    fn brought(&mut self, guest: &str, key: &Span, node: &Node) -> Option<PathBuf> {
        let strange = guest.split('/').any(|part| part == "..");
        let root = guest == "/";
        if !guest.starts_with('/') || guest.ends_with('/') && !root || strange || guest.contains('\0') {
            self.errors.push(
                Diagnostic::new(key, "expected a file's absolute path in the guest")
                    .help("write `path in the guest: path on this machine`"),
            );
            return None;
        }
        let text = self.text(node, "a file's path")?;
        let host = self.beside(&text);
        if let Err(why) = intake::named(&host) {
            self.errors.push(Diagnostic::new(&node.span, format!("failed to {why}")));
            return None;
        }
        Some(host)
    }

    fn not_there(&mut self, host: &Path, node: &Node, error: &io::Error) {
        let error = Diagnostic::new(&node.span, format!("can't find {}: {}", host.display(), plain(error)));
        let error = self.neighbours(host, error);
        self.errors.push(error);
    }

    /// A list that must be a list.
    pub fn list<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(items) if !items.is_empty() => Some(items),
            Value::List(_) => {
                self.error(Diagnostic::new(&node.span, format!("expected {what}; this one is empty")))
            }
            _ => self.expected(node, what),
        }
    }
}

/// A folder and all that is in it, in the order of names; `guest` is where it is in the guest.
fn folder(host: &Path, guest: &str, line: usize) -> Result<Vec<GuestFile>, String> {
    let mut files = Vec::new();
    let limits = Limits::FILES.wanted().map_err(|why| format!("failed to {why}"))?;
    let mut tally = Tally::new(host, limits);
    for entry in walkdir::WalkDir::new(host).sort_by_file_name() {
        let entry = entry.map_err(|error| format!("can't read all of {}: {error}", host.display()))?;
        let path = entry.path();
        entry
            .metadata()
            .map_err(|error| format!("can't read {}: {error}", path.display()))
            .and_then(|meta| tally.add(path, &meta).map_err(|why| format!("failed to {why}")))?;
        // The folder's own name may be a link.
        let kind = match entry.file_type() {
            _ if entry.depth() == 0 => GuestFileKind::Folder,
            kind if kind.is_dir() => GuestFileKind::Folder,
            kind if kind.is_symlink() => GuestFileKind::Link,
            kind if kind.is_file() => GuestFileKind::File,
            _ => return Err(format!("{} is neither a file, a folder nor a link", path.display())),
        };
        let inside = path.strip_prefix(host).unwrap_or(path);
        let name =
            inside.to_str().ok_or_else(|| format!("the name of {} is no UTF-8 text", path.display()))?;
        let guest = match (guest.trim_end_matches('/'), name) {
            ("", "") => continue,
            (guest, "") => guest.to_owned(),
            (guest, name) => format!("{guest}/{name}"),
        };
        files.push(GuestFile { kind, host: path.to_owned(), guest, line });
    }
    Ok(files)
}

/// Whether a file of the guest's may be a module, or give modules other names.
pub fn brings_names(file: &GuestFile) -> bool {
    ["/lib/modules", "/etc/modprobe.d"].iter().any(|folder| file.guest.starts_with(folder))
}

/// Whether a module may go by a name: only a folder's files, all of which can be read, are known not to say it.
fn may_say(module: &ModuleSource, name: &str) -> bool {
    let entries = fs::read_dir(&module.path).map(Iterator::collect::<Result<Vec<_>, _>>);
    let (ModuleKind::Folder, Ok(Ok(entries))) = (module.kind, entries) else { return true };
    let says = |path: &Path| intake::read_text(path).map_or(true, |text| text.contains(name));
    module.names.is_empty() || entries.iter().any(|entry| says(&entry.path()))
}

/// The modules that a Makefile's `obj-m` lines name; none if a line holds a variable, or may be another one by a variable, a function or
/// another makefile.
fn object_names(makefile: &str) -> Vec<String> {
    let joined = makefile.replace("\\\n", " ");
    let mut names = Vec::new();
    for line in joined.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let reads = line.split_whitespace().next().is_some_and(|word| word.ends_with("include"));
        if reads || ["obj-$", "$(", "${"].iter().any(|unknown| line.starts_with(unknown)) {
            return Vec::new();
        }
        let Some(rest) = line.strip_prefix("obj-m") else { continue };
        let rest = rest.trim_start();
        let Some(list) = ["+=", ":=", "?=", "="].into_iter().find_map(|sign| rest.strip_prefix(sign)) else {
            continue;
        };
        for object in list.split_whitespace() {
            match object.strip_suffix(".o") {
                Some(path) if !path.contains('$') => {
                    names.push(path.rsplit('/').next().unwrap_or(path).to_owned());
                }
                _ => return Vec::new(),
            }
        }
    }
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_makefile_that_the_kernel_does_not_read_is_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("mod")).unwrap();
        let path = folder.path().join("a.yaml");
        std::fs::write(&path, "modules: [mod]\nsteps:\n- insmod: a\n").unwrap();
        let why = || crate::load(&path).unwrap_err().to_string();
        assert!(why().contains("needs a Makefile"), "{}", why());
        std::fs::write(folder.path().join("mod/makefile"), "obj-m := a.o\n").unwrap();
        assert!(why().contains("and no makefile; rename it: mv "), "{}", why());
    }

    #[test]
    fn obj_m_lines_name_the_modules() {
        assert_eq!(object_names("obj-m += helloModule.o\n"), ["helloModule"]);
        assert_eq!(object_names("obj-m := a.o \\\n  b-c.o # two\nccflags-y := -g\n"), ["a", "b-c"]);
        assert!(object_names("obj-m += $(NAME).o fixed.o").is_empty());
        assert!(object_names("all:\n\tmake\n").is_empty());
        assert_eq!(object_names("obj-m += src/hello.o\n"), ["hello"]);
        for unknown in
            ["obj-$(CONFIG_FOO) += opt.o", "include a", "-include a", "sinclude\ta", "$(eval obj-m += opt.o)"]
        {
            assert!(object_names(&format!("obj-m := main.o\n{unknown}\n")).is_empty(), "{unknown}");
        }
    }

    #[test]
    fn a_typo_in_modprobe_is_known_at_once_and_an_alias_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let place = |path: &str| folder.path().join(path);
        fs::create_dir_all(place("m/drv")).unwrap();
        fs::write(place("m/drv/Makefile"), "obj-m := my-driver.o\n").unwrap();
        fs::write(place("m/drv/my-driver.c"), "MODULE_ALIAS(\"my-drivel\");\n").unwrap();
        let load = |name: &str, more: &str| {
            let text = format!("modules: [drv]\n{more}steps:\n- modprobe: {name}\n");
            fs::write(place("m/a.yaml"), text).unwrap();
            crate::load(&place("m/a.yaml")).map(drop).map_err(|errors| errors.to_string())
        };
        let error = load("my-drivre", "").unwrap_err();
        assert!(error.contains("did you mean `my-driver`?"), "{error}");
        for name in ["my-driver", "my_driver", "my-drivel", "fs-other"] {
            assert_eq!(load(name, ""), Ok(()), "{name}");
        }
        for file in ["/lib/modules/my-drivre.ko", "/etc/modprobe.d/a.conf"] {
            assert_eq!(load("my-drivre", &format!("files: {{{file}: a.yaml}}\n")), Ok(()), "{file}");
        }
        assert_eq!(load("my-drivre", "# by modprobe.d\n"), Ok(()));
        fs::create_dir(place("m/drv/deep")).unwrap();
        assert_eq!(load("my-drivre", ""), Ok(()), "nobody knows what is said there");
    }

    #[test]
    fn a_program_is_its_source_in_c_and_nothing_else() {
        let here = tempfile::tempdir().unwrap();
        fs::write(here.path().join("call.c"), "int main(void) { return 0; }\n").unwrap();
        fs::write(here.path().join("call"), "\x7fELF").unwrap();
        let load = |host: &str| {
            let path = here.path().join("s.yaml");
            fs::write(&path, format!("programs: {{/bin/call: {host}}}\nsteps:\n- run: /bin/call\n")).unwrap();
            crate::load(&path)
        };
        let scenario = load("call.c").unwrap();
        let files: Vec<_> = scenario.files.iter().map(|file| (&*file.guest, file.kind, file.line)).collect();
        assert_eq!(files, [("/bin/call", crate::GuestFileKind::Program, 1)]);
        let error = load("call").unwrap_err().to_string();
        assert!(error.contains("is no source of a program in C") && error.contains("`files`"), "{error}");
        let error = load("cal.c").unwrap_err().to_string();
        assert!(error.contains("can't find") && error.contains("call.c"), "{error}");
    }
}
