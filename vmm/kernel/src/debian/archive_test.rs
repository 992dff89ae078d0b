//! Against an archive on this machine.

use super::*;
use crate::source::digest;
use base::cache::Fault;
use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::Path,
    process::Command,
    thread,
};

/// Serves the files of a folder; returns its address.
fn serve(folder: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/debian", listener.local_addr().unwrap());
    let folder = folder.to_owned();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            lines.find(String::is_empty);
            let path = first.split(' ').nth(1).unwrap_or_default().trim_start_matches("/debian/").to_owned();
            let (status, content) = match fs::read(folder.join(path)) {
                Ok(content) => ("200 OK", content),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                content.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), &content].concat());
        }
    });
    address
}

fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// An archive with one package in a suite.
fn archive(folder: &Path, suite: &str, package: &str, version: &str, deb: &[u8]) {
    let pool = format!("pool/{package}.deb");
    write(&folder.join(&pool), deb);
    let sum = digest(&folder.join(&pool)).unwrap();
    let index = format!(
        "Package: other\nVersion: 1\nFilename: x\nSHA256: {sum}\n\n\
         Package: {package}\nVersion: {version}\nDescription: x\n more\nFilename: {pool}\nSHA256: {sum}\n"
    );
    let place = folder.join(format!("dists/{suite}/main/binary-amd64/Packages"));
    write(&place, index.as_bytes());
    assert!(Command::new("xz").arg("--keep").arg("--force").arg(&place).status().unwrap().success());
    let sum = digest(&place.with_extension("xz")).unwrap();
    let release = format!(
        "Suite: {suite}\nMD5Sum:\n 0123 7 {INDEX}\nSHA256:\n {sum} 7 main/other\n {sum} 7 {INDEX}\nSHA512:\n 1 7 {INDEX}\n"
    );
    write(&folder.join(format!("dists/{suite}/Release")), release.as_bytes());
}

struct Setup {
    folder: tempfile::TempDir,
    cache: Cache,
    address: String,
}

fn setup() -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(&folder.path().join("cache")).unwrap();
    let address = serve(&folder.path().join("archive"));
    Setup { folder, cache, address }
}

#[test]
fn a_package_is_found_in_the_first_suite_that_has_it() {
    let Setup { folder, cache, address } = setup();
    let root = folder.path().join("archive");
    archive(&root, "stable", "linux-source-6.12", "6.12.9-1", b"deb");
    archive(&root, "sid", "linux-source-7.3", "7.3.1-1", b"other");
    // There is no such suite in this mirror, which is no reason to give up.
    let get = |package: &str, version: Option<&str>| {
        find(&cache, &address, &["backports", "stable", "sid"], package, version).unwrap()
    };
    let found = get("linux-source-6.12", None).unwrap();
    assert_eq!(found.version, "6.12.9-1");
    assert_eq!(found.address, format!("{address}/pool/linux-source-6.12.deb"));
    assert_eq!(get("linux-source-7.3", Some("7.3.1-1")).unwrap().version, "7.3.1-1");
    assert_eq!(get("linux-source-7.3", Some("7.3.2-1")), None);
    let both = ["6.12.9-1", "6.12.117-1", "6.12.20-1"].map(|version| {
        format!("Package: p\nVersion: {version}\nFilename: {version}.deb\nSHA256: {}\n", "0".repeat(64))
    });
    assert_eq!(listed(&both.join("\n"), "a", "p", None).unwrap().address, "a/6.12.117-1.deb");
    assert_eq!(listed(&both.join("\n"), "a", "p", Some("6.12.9-1")).unwrap().version, "6.12.9-1");
    assert_eq!(get("linux-source-5.0", None), None);
    assert_eq!(get("linux-source-6.1", None), None);
}

#[test]
fn an_index_or_a_package_that_is_another_is_not_taken() {
    let Setup { folder, cache, address } = setup();
    let root = folder.path().join("archive");
    archive(&root, "stable", "linux-source-6.12", "6.12.9-1", b"deb");
    write(&root.join("pool/linux-source-6.12.deb"), b"bad");
    let found = find(&cache, &address, &["stable"], "linux-source-6.12", None).unwrap().unwrap();
    let error = download::fetch(&cache, &found.address, Some(&found.sha256)).unwrap_err();
    assert!(matches!(error, SourceError::Checksum { .. }), "{error}");
    let index = root.join("dists/stable").join(INDEX);
    let other = fs::read(&index).unwrap().iter().map(|byte| byte ^ 1).collect::<Vec<_>>();
    write(&index, &other);
    let error = find(&cache, &address, &["stable"], "linux-source-6.12", None).unwrap_err();
    assert!(matches!(error, SourceError::Checksum { .. }), "{error}");
    write(&root.join("dists/stable/Release"), b"Suite: stable\n");
    let error = find(&cache, &address, &["stable"], "linux-source-6.12", None).unwrap_err();
    assert!(error.to_string().contains("it has no SHA-256 of main"), "{error}");
}

#[test]
fn an_archive_that_does_not_answer_is_this_machines_fault_and_another_way_is_told() {
    let Setup { folder: _folder, cache, address } = setup();
    let error = find(&cache, &address, &["stable", "sid"], "linux-source-6.12", None).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("VMM_DEBIAN_MIRROR=https://MIRROR/debian"), "{said}");
    assert!(
        said.contains("--source https://cdn.kernel.org/pub/linux/kernel/v6.x/linux-6.12.N.tar.xz#sha256=HEX")
    );
    assert_eq!(crate::KernelError::from(error).fault(), Fault::Machine);
}

/// All of it, but for what a real package is large for.
#[test]
fn a_source_comes_from_the_archive_into_the_cache() {
    let Setup { folder, cache, address } = setup();
    let at = |name: &str| folder.path().join(name);
    let tree = at("linux-source-6.12");
    for name in ["Kconfig", "Kbuild", "arch/x86/Kconfig", "scripts/tool"] {
        write(&tree.join(name), b"");
    }
    write(&tree.join("Makefile"), b"VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 9\n");
    write(
        &at("deb/DEBIAN/control"),
        b"Package: linux-source-6.12\nVersion: 6.12.9-1\nArchitecture: all\nMaintainer: n\nDescription: x\n",
    );
    fs::create_dir_all(at("deb/usr/src")).unwrap();
    let run = |program: &str, args: &[&str]| {
        assert!(
            Command::new(program).args(args).current_dir(folder.path()).output().unwrap().status.success()
        );
    };
    run("tar", &["cJf", "deb/usr/src/linux-source-6.12.tar.xz", "linux-source-6.12"]);
    run("dpkg-deb", &["--build", "deb", "linux.deb"]);
    let deb = fs::read(at("linux.deb")).unwrap();
    archive(&at("archive"), "stable", "linux-source-6.12", "6.12.9-1", &deb);
    let found = find(&cache, &address, &["stable"], "linux-source-6.12", None).unwrap().unwrap();
    let key = crate::debian::keep(&cache, "linux-source-6.12", crate::debian::Way::Archive(found)).unwrap();
    assert_eq!(key, "linux-source-6.12_6.12.9-1");
    let sources = crate::sources::Sources::kept(&cache, &key, "linux-source-6.12").unwrap();
    assert_eq!(sources.version, "6.12.9");
}
