//! `kernel:` of a scenario: a name, or what to build.

use super::node::{Node, Value};
use super::reader::Reader;
use base::diagnostic::Diagnostic;
use base::wanted::Wanted;

const FIELDS: &[&str] = &["source", "revision", "series", "config", "fragments", "llvm", "name", "modules"];

impl Reader<'_> {
    /// Several of them, each as `kernel` takes it.
    pub fn matrix(&mut self, node: &Node) -> Option<Vec<Wanted>> {
        let items = self.list(node, "a list of kernels, like `[6.12, 7.3]`")?;
        Some(items.iter().filter_map(|item| self.kernel(item)).collect())
    }

    /// Reads it; what the words mean is looked up when the kernel is needed.
    pub fn kernel(&mut self, node: &Node) -> Option<Wanted> {
        if !matches!(node.value, Value::Map(_)) {
            let name =
                self.text(node, "a kernel: a series like `6.12`, or a map like `{fragments: [kasan]}`")?;
            return Some(Wanted::series(&name));
        }
        let mut fields = self.fields(node, "`kernel`")?;
        let mut text = |reader: &mut Self, name: &str, what: &str| {
            fields.take(name).and_then(|node| reader.text(node, what))
        };
        let mut wanted = Wanted {
            kernel: text(self, "name", "a series, a hash, or a file"),
            source: text(self, "source", "a source: a folder, a tarball, a package, or a repository"),
            revision: text(self, "revision", "a git revision"),
            series: text(self, "series", "a folder with patches, or `none`"),
            config: text(self, "config", "`tiny`, `defconfig`, or a configuration's file"),
            llvm: text(self, "llvm", "a version of clang like `19`, or `1` for the newest"),
            modules: text(self, "modules", "the folder of the kernel's modules").map(Into::into),
            fragments: Vec::new(),
            checkout: None,
        };
        if let Some(node) = fields.take("fragments") {
            for item in self.items(node, "fragments, like `[kasan, lockdep]`")?.iter() {
                wanted.fragments.extend(self.text(item, "a fragment's name or file"));
            }
        }
        if let (Some(_), Some(_)) = (&wanted.kernel, &wanted.source) {
            let text = "`name` and `source` exclude each other: either names what is to run";
            self.errors.push(Diagnostic::new(&node.span, text.to_owned()));
        }
        fields.end(self, FIELDS);
        Some(wanted)
    }
}
