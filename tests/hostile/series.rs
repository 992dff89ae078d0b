//! A series of patches that makes a link to what only its reader may read, and has it read by another name.

use super::{said, vmm};
use std::{fs, path::Path};

/// A new file whose headers git reads, and of which none stands where others have theirs.
fn link(name: &str, to: &Path) -> String {
    format!(
        "rename from {name}/hostname\ndiff --git a/x b/{name}\nnew file mode 120000\n--- /dev/null\nindex 0000000..1111111\n\
         +++ b/{name}\n@@ -0,0 +1 @@\n+{}\n\\ No newline at end of file\n",
        to.display()
    )
}

#[test]
fn a_series_that_makes_a_link_out_of_the_source_is_refused_and_nothing_behind_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["secret", "source/arch/x86", "source/scripts", "series"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    fs::write(at("secret/hostname"), "took-secret").unwrap();
    fs::write(at("source/Makefile"), "VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 3\n").unwrap();
    for name in ["Kconfig", "Kbuild"] {
        fs::write(at("source").join(name), "").unwrap();
    }
    fs::write(at("series/series"), "1.patch\n").unwrap();
    fs::write(at("series/1.patch"), link("evil", &at("secret"))).unwrap();
    let [source, series, cache] = ["source", "series", "cache"].map(|name| at(name).display().to_string());
    for command in [&["kernel", "build"][..], &["kernel", "patch", "check"]] {
        let mut command = vmm(command);
        command.args(["--source", &source, "--series", &series]).env("VMM_CACHE", &cache);
        let output = command.output().unwrap();
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("it makes evil, a link that leads out of the source"), "{text}");
    }
    let grep = std::process::Command::new("grep").args(["-r", "took-secret", &cache]).output().unwrap();
    assert_eq!(said(&grep), "");
}
