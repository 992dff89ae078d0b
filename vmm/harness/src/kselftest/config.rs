//! What collections ask of the kernel's configuration, each in a file of its own.

use super::{
    build::text_within,
    select::{Asked, FOLDER},
};
use crate::Abort;
use base::cache::{Cache, CacheError};
use kernel::{
    Kernel,
    config::{self, Request},
    sources::hex,
};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The ready-made fragment, or one that has what the collections ask for beyond it and the base, written into the cache. So most
/// collections share a kernel; and as both have the same name, all are built in one folder, where the next one finds its objects.
pub fn fragment(
    source: &Path,
    asked: &[Asked],
    base: &Path,
    ready: &Path,
    cache: &Cache,
) -> Result<PathBuf, Abort> {
    let read = |path: &Path| fs::read_to_string(path).map_err(CacheError::io("read", path));
    let known =
        |path: &Path, text: &str| config::parse(path, text).map_err(|error| Abort::input(error.to_string()));
    let own = read(ready)?;
    let known = [known(base, &read(base)?)?, known(ready, &own)?].concat();
    // Module or not: what is built in serves who asks for a module, but for tests that are modules themselves.
    let has = |wanted: &Request| known.iter().any(|has| has.symbol == wanted.symbol && has.value != "n");
    let all = asked.iter().map(|asked| requests(source, asked)).collect::<Result<Vec<_>, _>>()?.concat();
    let beyond = all.iter().filter(|request| !has(request));
    let beyond: BTreeMap<&str, &str> = beyond.map(|it| (it.symbol.as_str(), it.value.as_str())).collect();
    if beyond.is_empty() {
        return Ok(ready.to_owned());
    }
    let line = |(symbol, value): (&&str, &&str)| match *value {
        "n" => format!("# if-possible\n# CONFIG_{symbol} is not set\n"),
        value => format!("# if-possible\nCONFIG_{symbol}={value}\n"),
    };
    let text = beyond.iter().map(line).fold(own, |text, line| text + &line);
    let folder = cache.work(&format!("kselftest-config-{}", &hex(Sha256::digest(&text))[..12]));
    let path = folder.join(ready.file_name().unwrap_or_default());
    fs::create_dir_all(&folder).map_err(CacheError::io("make the folder", &folder))?;
    fs::write(&path, text).map_err(CacheError::io("write", &path))?;
    Ok(path)
}

/// What a collection asks for and the kernel does not have.
pub fn lacking(source: &Path, asked: &Asked, kernel: &Kernel) -> Result<Vec<String>, Abort> {
    let text = fs::read_to_string(&kernel.config).map_err(CacheError::io("read", &kernel.config))?;
    let has = config::values(&text);
    let lacks = |Request { symbol, value, .. }: Request| {
        let found = has.get(symbol.as_str()).copied().unwrap_or("n");
        (found != value && !(value == "m" && found == "y")).then(|| format!("CONFIG_{symbol}={value}"))
    };
    Ok(requests(source, asked)?.into_iter().filter_map(lacks).collect())
}

/// The files are for the kernel's own scripts, which take no offence at a line that says nothing to them.
fn requests(source: &Path, asked: &Asked) -> Result<Vec<Request>, Abort> {
    let path = source.join(FOLDER).join(&asked.collection).join("config");
    let text = text_within(source, &path)?;
    Ok(text.lines().filter_map(|line| config::parse(&path, line).ok()).flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kselftest::select;

    #[test]
    fn only_what_the_ready_made_fragment_lacks_makes_another_kernel() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(&folder.path().join("cache")).unwrap();
        let selftests = folder.path().join(FOLDER);
        for (name, text) in [("a", "# why\nCONFIG_NET=m\n"), ("b", "CONFIG_ODD=m\nnonsense\nCONFIG_SMP=y")] {
            fs::create_dir_all(selftests.join(name)).unwrap();
            fs::write(selftests.join(name).join("config"), text).unwrap();
        }
        let ready = folder.path().join("ready.config");
        fs::write(&ready, "CONFIG_NET=y\n").unwrap();
        let base = folder.path().join("base.config");
        fs::write(&base, "CONFIG_SMP=y\n").unwrap();
        let made = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            fragment(folder.path(), &select::parse(&words).unwrap(), &base, &ready, &cache).unwrap()
        };
        assert_eq!(made(&["a"]), ready);
        assert_eq!(made(&["none"]), ready);
        let path = made(&["a", "b"]);
        assert_eq!(path.file_name(), ready.file_name());
        assert_eq!(fs::read_to_string(path).unwrap(), "CONFIG_NET=y\n# if-possible\nCONFIG_ODD=m\n");
        fs::create_dir(selftests.join("c")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", selftests.join("c/config")).unwrap();
        let endless = select::parse(&["c".to_owned()]).unwrap();
        assert!(fragment(folder.path(), &endless, &base, &ready, &cache).is_err());
    }
}
