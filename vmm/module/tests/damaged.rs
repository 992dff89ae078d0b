//! Module files that others hand in, damaged in every way: preflight refuses them or not, and never panics.

use base::cache::Cache;
use module::preflight::{self, Candidate, Facts, Way};
use proptest::prelude::*;
use std::{
    fs,
    process::Command,
    sync::{LazyLock, OnceLock},
};

/// What the kernel's build system makes, as far as preflight looks at it.
fn module() -> &'static [u8] {
    static MODULE: OnceLock<Vec<u8>> = OnceLock::new();
    MODULE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let (source, out) = (folder.path().join("a.c"), folder.path().join("a.ko"));
        let text = "const char info[] __attribute__((section(\".modinfo\"), used)) = \"license=GPL\\0vermagic=6.12.3-fake SMP \
                    \\0name=a\\0depends=b\";\nvoid nowhere(void); void init_module(void) { nowhere(); }\n\
                    struct { char name[64]; } this __attribute__((section(\".gnu.linkonce.this_module\"), used));\n";
        fs::write(&source, text).unwrap();
        let status = Command::new("gcc").args(["-c", "-w", "-o"]).args([&out, &source]).status().unwrap();
        assert!(status.success());
        fs::read(out).unwrap()
    })
}

static KERNEL: LazyLock<(tempfile::TempDir, Cache, kernel::Kernel)> =
    LazyLock::new(kernel::fixture::fake_kernel);

proptest! {
    #[test]
    fn module_files(
        damage in prop::collection::vec((prop_oneof![any::<u32>(), 0u32..256], any::<u8>()), 0..40),
        cut in prop::option::weighted(0.2, any::<u32>()),
    ) {
        let mut bytes = module().to_vec();
        for (at, value) in damage {
            let length = bytes.len();
            bytes[at as usize % length] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut as usize % module().len());
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ko");
        fs::write(&path, bytes).unwrap();
        let (_, cache, kernel) = &*KERNEL;
        if let Ok(candidate) = Candidate::load(&path, &path, Way::Given) {
            for problem in preflight::check(&[candidate], &Facts::of(kernel), cache).problems {
                prop_assert!(!problem.to_string().is_empty());
            }
        }
    }
}
