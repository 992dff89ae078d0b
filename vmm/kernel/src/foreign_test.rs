use super::{
    image::{banner, bzimage, inside},
    *,
};

/// A bzImage whose payload is this.
fn bzimage_of(payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    bytes[0x1f1] = 1;
    bytes[0x202..0x206].copy_from_slice(b"HdrS");
    bytes[0x206..0x208].copy_from_slice(&0x20fu16.to_le_bytes());
    bytes[0x20e..0x210].copy_from_slice(&0x100u16.to_le_bytes());
    bytes[0x300..0x310].copy_from_slice(b"6.1.0-9-amd64 (x");
    bytes[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.extend(payload);
    bytes
}

fn lz4(text: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x02, 0x21, 0x4c, 0x18];
    let block = lz4_flex::block::compress(text);
    bytes.extend((block.len() as u32).to_le_bytes());
    bytes.extend(block);
    bytes
}

#[test]
fn the_kernel_in_a_bzimage_is_found_with_its_release() {
    let (elf, release) = bzimage(&bzimage_of(&lz4(b"\x7fELF and more"))).unwrap();
    assert_eq!((elf.as_slice(), release.as_deref()), (&b"\x7fELF and more"[..], Some("6.1.0-9-amd64")));
}

#[test]
fn what_is_no_kernel_is_told_apart() {
    assert!(bzimage(b"#!/bin/sh").unwrap_err().contains("neither"));
    assert!(bzimage(&bzimage_of(b"plain")).unwrap_err().contains("packed in a way"));
    assert!(bzimage(&bzimage_of(&lz4(b"text"))).unwrap_err().contains("no ELF"));
    let whole = bzimage_of(&lz4(b"\x7fELF"));
    for cut in 0..whole.len() {
        assert!(bzimage(&whole[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn a_version_is_found_in_what_the_kernel_says_first() {
    assert_eq!(
        banner(
            b"..Linux version %s..Linux version 6.1.0-9 (gcc) and so on, for the text is longer than that"
        )
        .as_deref(),
        Some("6.1.0-9")
    );
    assert_eq!(banner(b"Linux version 6"), None);
}

#[test]
fn a_kernel_without_the_agents_driver_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let stage = folder.path().join("stage");
    let error = early(Path::new("k"), "", Some(folder.path()), &stage).unwrap_err().to_string();
    assert!(error.contains("has virtio_mmio neither"), "{error}");
    // Whoever built it can change that.
    fs::write(folder.path().join(".config"), "").unwrap();
    let said =
        |config: &str| early(Path::new("k"), config, Some(folder.path()), &stage).unwrap_err().to_string();
    let (both, one) = (said(""), said("CONFIG_VIRTIO_MMIO=y\n"));
    assert!(both.contains("is without CONFIG_VIRTIO_MMIO, CONFIG_VIRTIO_CONSOLE, and"), "{both}");
    assert!(one.contains("is without CONFIG_VIRTIO_CONSOLE, and") && one.contains("set it to y"), "{one}");
    let config = "CONFIG_VIRTIO_MMIO=y\nCONFIG_VIRTIO_CONSOLE=y\n";
    assert!(early(Path::new("k"), config, None, &stage).unwrap().is_empty());
}

#[test]
fn modules_are_found_packed_and_by_either_spelling() {
    let folder = tempfile::tempdir().unwrap();
    let drivers = folder.path().join("kernel/drivers");
    fs::create_dir_all(&drivers).unwrap();
    fs::write(drivers.join("virtio-mmio.ko.xz"), lz4(b"the module")).unwrap();
    fs::write(drivers.join("bad.ko.gz"), [0x1f, 0x8b, 1]).unwrap();
    fs::write(folder.path().join("modules.builtin"), "kernel/drivers/char/virtio_console.ko\n").unwrap();
    let modules = Modules::read(folder.path());
    let mut order = Vec::new();
    assert!(modules.load("virtio_mmio", &mut order).unwrap());
    assert!(modules.load("virtio_console", &mut order).unwrap(), "it is built in");
    assert!(!modules.load("nowhere", &mut order).unwrap());
    assert_eq!(order, [("virtio_mmio".to_owned(), b"the module".to_vec())]);
    assert!(modules.load("bad", &mut order).unwrap_err().to_string().contains("bad.ko.gz"));
}

#[test]
fn an_image_in_its_build_folder_has_the_configuration_and_the_modules_there() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("linux");
    fs::create_dir_all(tree.join("arch/x86/boot")).unwrap();
    fs::create_dir_all(tree.join("include/config")).unwrap();
    let image = tree.join("arch/x86/boot/bzImage");
    fs::write(&image, bzimage_of(&lz4(b"\x7fELF and more"))).unwrap();
    assert_eq!(tree_of(&image), None, "nothing was built here");
    fs::write(tree.join(".config"), "CONFIG_VIRTIO_MMIO=y\n").unwrap();
    fs::write(tree.join(RELEASE), "6.1.0-9-amd64\n").unwrap();
    fs::write(tree.join("modules.builtin"), "kernel/drivers/char/virtio_console.ko\n").unwrap();
    let parts = || Parts {
        named: image.clone(),
        image: image.clone(),
        modules: None,
        boot: tree.join("arch/x86/boot"),
        tree: tree_of(&image),
        packed: Packed::No,
    };
    let stage = folder.path().join("stage");
    fs::create_dir(&stage).unwrap();
    assemble(parts(), &stage).unwrap();
    assert_eq!(fs::read_link(stage.join("build")).unwrap(), fs::canonicalize(&tree).unwrap());
    assert_eq!(fs::read_to_string(stage.join("config")).unwrap(), "CONFIG_VIRTIO_MMIO=y\n");
    // Another kernel was built here since.
    fs::write(tree.join(RELEASE), "6.1.0-10-amd64\n").unwrap();
    fs::remove_dir_all(&stage).unwrap();
    fs::create_dir(&stage).unwrap();
    assert!(assemble(parts(), &stage).unwrap_err().to_string().contains("has virtio_mmio neither"));
}

/// An object that needs a module, as `.modinfo` says it.
fn module_that_needs(needed: &str, folder: &Path) -> Vec<u8> {
    let (source, object) = (folder.join("needs.s"), folder.join("needs.o"));
    fs::write(&source, format!(".section .modinfo\n.asciz \"depends={needed}\"\n.zero 100\n")).unwrap();
    let made = std::process::Command::new("as").arg(&source).arg("-o").arg(&object).status().unwrap();
    assert!(made.success());
    fs::read(object).unwrap()
}

#[test]
fn a_chain_of_modules_ends_somewhere() {
    let folder = tempfile::tempdir().unwrap();
    for count in [MANY - 1, 500] {
        let modules = folder.path().join(count.to_string());
        fs::create_dir(&modules).unwrap();
        // Each needs the next, and the last the first.
        let object = module_that_needs("m000", folder.path());
        for number in 0..count {
            let next = format!("m{:03}", (number + 1) % count);
            let needs = memchr::memmem::find(&object, b"m000").unwrap();
            let mut bytes = object.clone();
            bytes[needs..needs + 4].copy_from_slice(next.as_bytes());
            fs::write(modules.join(format!("m{number:03}.ko")), bytes).unwrap();
        }
        let mut order = Vec::new();
        let loaded = Modules::read(&modules).load("m000", &mut order);
        match count < MANY {
            true => {
                assert!(loaded.unwrap());
                let names: Vec<&str> = order.iter().map(|(name, _)| &**name).collect();
                assert_eq!((names[0], names[count - 1], names.len()), ("m062", "m000", count));
            }
            false => assert!(loaded.unwrap_err().to_string().contains("more than 64 modules")),
        }
    }
    const MANY: usize = 64;
}

#[test]
fn an_image_that_names_no_version_but_a_path_is_no_kernel() {
    for release in [&b"../../../tmp (x"[..], b"6.1/../../x (y", b"6.1\x1b[2J (x"] {
        let mut image = bzimage_of(&lz4(b"\x7fELF and more"));
        image[0x300..0x310].fill(0);
        image[0x300..0x300 + release.len()].copy_from_slice(release);
        // Nor is anything looked for at such a path before it is unpacked.
        assert_eq!(release_of(&image), None);
        assert_eq!(inside(image).map(drop).unwrap_err(), "it names no version");
    }
}

#[test]
fn a_package_takes_nothing_of_this_machine_by_links_and_waits_for_no_pipe() {
    if toolchain::find("dpkg-deb").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (content, package) = (folder.path().join("content"), folder.path().join("kernel.deb"));
    let secret = folder.path().join("secret");
    fs::write(&secret, "CONFIG_SECRET=y\nCONFIG_VIRTIO_MMIO=y\nCONFIG_VIRTIO_CONSOLE=y\n").unwrap();
    fs::create_dir_all(folder.path().join("victim")).unwrap();
    fs::write(folder.path().join("victim/Makefile"), "").unwrap();
    let modules = content.join("lib/modules/6.1.0-9-amd64");
    for at in ["DEBIAN", "boot", "lib/modules/6.1.0-9-amd64"] {
        fs::create_dir_all(content.join(at)).unwrap();
    }
    let control = "Package: kernel\nVersion: 1\nArchitecture: amd64\nMaintainer: x <x@x.x>\nDescription: x\n";
    fs::write(content.join("DEBIAN/control"), control).unwrap();
    fs::write(content.join("boot/vmlinuz-6.1.0-9-amd64"), bzimage_of(&lz4(b"\x7fELF and more"))).unwrap();
    symlink(&secret, content.join("boot/config-6.1.0-9-amd64")).unwrap();
    symlink(&secret, modules.join("virtio_mmio.ko")).unwrap();
    symlink(folder.path().join("victim"), modules.join("build")).unwrap();
    let builtin = modules.join("modules.builtin");
    assert!(std::process::Command::new("mkfifo").arg(&builtin).status().unwrap().success());
    let mut build = std::process::Command::new("dpkg-deb");
    let build = build.args(["-Zgzip", "-b"]).arg(&content).arg(&package).output().unwrap();
    assert!(build.status.success(), "{build:?}");
    let unpacked = |to: &str| {
        let (to, stage) = (folder.path().join(to), folder.path().join(format!("{to}-stage")));
        fs::create_dir_all(&to).unwrap();
        fs::create_dir_all(&stage).unwrap();
        let parts = super::package(&fs::read(&package).unwrap(), Path::new("kernel.deb"), &to).unwrap();
        (assemble(parts, &stage).map_err(|error| error.to_string()), stage)
    };
    let (made, stage) = unpacked("one");
    assert!(made.unwrap_err().contains("has virtio_mmio neither"));
    assert_eq!(fs::read_to_string(stage.join("config")).unwrap(), "");
    assert!(!fs::read_link(stage.join("build")).unwrap().ends_with("victim"));
    // A link of its own is as good as a file.
    fs::remove_file(&builtin).unwrap();
    fs::write(modules.join("list"), "a/virtio_mmio.ko\na/virtio_console.ko\n").unwrap();
    symlink("list", &builtin).unwrap();
    let mut build = std::process::Command::new("dpkg-deb");
    assert!(build.args(["-Zgzip", "-b"]).arg(&content).arg(&package).output().unwrap().status.success());
    let (made, _) = unpacked("two");
    made.unwrap();
}

/// A guest would load drivers that are not the kernel's any more.
#[test]
fn a_kernel_is_another_one_with_other_modules_or_another_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let image = bzimage_of(&lz4(b"\x7fELF and more"));
    fs::create_dir(at("modules")).unwrap();
    let now = || key(&image, &at("vmlinuz"), Some(&at("modules")));
    let mut known = vec![now()];
    let files = [
        ("config-6.1.0-9-amd64", "CONFIG_VIRTIO_CONSOLE=y\n"),
        ("modules/virtio_mmio.ko", "the module"),
        ("modules/virtio_mmio.ko", "another module"),
        ("config-6.1.0-9-amd64", "CONFIG_VIRTIO_MMIO=y\n"),
    ];
    for (file, text) in files {
        fs::write(at(file), text).unwrap();
        known.push(now());
    }
    assert_eq!(known.iter().collect::<std::collections::BTreeSet<_>>().len(), known.len(), "{known:?}");
    // What is loaded later is no part of an entry.
    fs::write(at("modules/other.ko"), "x").unwrap();
    assert_eq!(known.last(), Some(&now()));
}

#[test]
fn a_package_that_fills_disks_is_ended_and_told() {
    if toolchain::find("dpkg-deb").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (content, package) = (folder.path().join("content"), folder.path().join("kernel.deb"));
    fs::create_dir_all(content.join("DEBIAN")).unwrap();
    let control = "Package: kernel\nVersion: 1\nArchitecture: amd64\nMaintainer: x <x@x.x>\nDescription: x\n";
    fs::write(content.join("DEBIAN/control"), control).unwrap();
    // One more than may come out of a small one.
    for number in 0..2 {
        let file = fs::File::create(content.join(format!("zeros{number}"))).unwrap();
        file.set_len(200 << 20).unwrap();
    }
    let mut build = std::process::Command::new("dpkg-deb");
    let build = build.args(["-Zgzip", "-b"]).arg(&content).arg(&package).output().unwrap();
    assert!(build.status.success(), "{build:?}");
    let to = folder.path().join("to");
    fs::create_dir(&to).unwrap();
    let error = super::package(&fs::read(&package).unwrap(), &package, &to).map(drop).unwrap_err();
    assert!(error.to_string().contains("256 MiB"), "{error}");
}
