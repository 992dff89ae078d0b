//! For tests: a tree that has a kernel's outside and takes a moment to build.

use crate::{Base, Compiler, Kernel, KernelError, Patches, Recipe, Source, ensure};
use base::cache::{Cache, Kind};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Understands the targets that a kernel is built by. Lines of `made` tell what was really built.
pub const MAKEFILE: &str = "\
VERSION = 6
PATCHLEVEL = 12
SUBLEVEL = 3

tinyconfig:
	@echo configured >> $(O)/configured
	@echo 'include SRC/Makefile' | sed 's,SRC,$(CURDIR),' > $(O)/Makefile
	@echo '# CONFIG_A is not set' > $(O)/.config

olddefconfig:
	@grep -v CONFIG_NEVER $(O)/.config > $(O)/.config.new
	@mv $(O)/.config.new $(O)/.config

ifdef M
src := $(M)
-include $(M)/Makefile
modules: $(patsubst %.o,$(M)/%.ko,$(obj-m))
$(M)/%.ko: $(M)/%.c
	@echo \"  CC [M]  $@\"
	@gcc -Wall $(ccflags-y) -c -o $@ $<
else
modules: vmlinux
endif

vmlinux: $(O)/vmlinux $(O)/.config
	@mkdir -p $(O)/include/config
	@echo 6.12.3-fake > $(O)/include/config/kernel.release
	@echo 'ffffffff81000000 T _text' > $(O)/System.map

$(O)/vmlinux: $(O)/main.o
	@echo '  LD      vmlinux'
	@gcc -static -nostdlib -Wl,-e,main -o $@ $<

$(O)/main.o: $(CURDIR)/main.c
	@echo '  CC      main.o'
	@echo main.o >> $(O)/made
	@gcc -c -o $@ $<
";

/// A tree, a cache and a recipe.
pub struct Setup {
    /// Holds everything.
    pub folder: tempfile::TempDir,
    /// An empty one.
    pub cache: Cache,
    /// Of the tree, with one patch and one fragment.
    pub recipe: Recipe,
}

/// Writes a file, and makes its folders.
pub fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A kernel that was not built yet.
pub fn setup() -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("linux");
    write(&tree.join("Makefile"), MAKEFILE);
    write(&tree.join("main.c"), "int main(void) { return 1; }\n");
    write(&tree.join("Kbuild"), "");
    write(&tree.join("Kconfig"), "config A\n\tbool\nconfig NEVER\n\tbool\n\tdepends on IMPOSSIBLE\n");
    write(&tree.join("scripts/tool"), "");
    write(&tree.join("include/linux/x.h"), "");
    write(&tree.join("arch/x86/entry/syscalls/syscall_64.tbl"), "0\tcommon\tread\tsys_read\n");
    write(&tree.join("arch/x86/entry/syscalls/syscall_32.tbl"), "3\ti386\tread\tsys_read\n");
    write(&folder.path().join("a.config"), "CONFIG_A=y\n");
    write(&folder.path().join("series/series"), "1.patch\n");
    let patch = "--- a/arch/x86/entry/syscalls/syscall_64.tbl\n+++ b/arch/x86/entry/syscalls/syscall_64.tbl\n\
                 @@ -1 +1,2 @@\n 0\tcommon\tread\tsys_read\n+548\tcommon\tours\tsys_ours\n";
    write(&folder.path().join("series/1.patch"), patch);
    let recipe = Recipe {
        source: Source::Folder(tree),
        series: Patches::Folder(folder.path().join("series")),
        base: Base::Tiny,
        fragments: vec![folder.path().join("a.config")],
        compiler: Compiler::Gcc,
        apart: false,
    };
    let cache = Cache::at(&folder.path().join("cache")).unwrap();
    Setup { folder, cache, recipe }
}

impl Setup {
    /// Builds or finds it.
    pub fn ensure(&self) -> Result<Kernel, KernelError> {
        ensure(&self.recipe, &self.cache)
    }

    /// A file of the tree.
    pub fn tree(&self, name: &str) -> PathBuf {
        self.folder.path().join("linux").join(name)
    }

    /// Asserts that the build failed, and that this left no entry and nothing half-made.
    pub fn error(&self) -> KernelError {
        let error = self.ensure().unwrap_err();
        assert!(self.cache.keys(Kind::Kernel).unwrap().is_empty());
        assert_eq!(fs::read_dir(self.cache.root().join("tmp")).unwrap().count(), 0);
        error
    }

    /// How often main.c was compiled.
    pub fn compiled(&self) -> usize {
        let slots = fs::read_dir(self.cache.root().join("work")).unwrap().flatten();
        let made = slots.filter_map(|slot| fs::read_to_string(slot.path().join("build/made")).ok());
        made.map(|text| text.lines().count()).sum()
    }
}

/// A kernel for the tests of modules.
pub fn fake_kernel() -> (tempfile::TempDir, Cache, Kernel) {
    let setup = setup();
    let kernel = setup.ensure().unwrap();
    (setup.folder, setup.cache, kernel)
}
