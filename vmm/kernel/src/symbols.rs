//! Where a kernel's functions and variables are.

use board::wire::Function;
use hashbrown::{DefaultHashBuilder, HashTable};
use object::{Object, ObjectSymbol, SymbolKind};
use std::{collections::BTreeMap, hash::BuildHasher, ops::Range};
use thiserror::Error;

/// Why there are no symbols.
#[derive(Debug, Error)]
pub enum SymbolsError {
    /// Not a line of `System.map`.
    #[error("read System.map, line {line}: expected \"ADDRESS TYPE NAME\", found \"{text}\"")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// Not an ELF file.
    #[error("read the symbols of vmlinux: {0}")]
    Elf(#[from] object::read::Error),
}

/// Names and addresses, as linked (not randomised).
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// All of them in a row: a kernel has tens of thousands, and every run reads them.
    names: String,
    all: Vec<Symbol>,
    /// Indices of `all`. Of several symbols of one name the one counts that all of the kernel knows, or the first of its files' own.
    by_name: HashTable<u32>,
    /// All others of their names.
    again: Vec<u32>,
    hasher: DefaultHashBuilder,
    /// Indices of `all`: code only, sorted by address.
    text: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Symbol {
    address: u64,
    /// Where its name is.
    name: Range<u32>,
    /// All of the kernel knows it by that name, of which there is one then; others are one file's own.
    global: bool,
}

impl Symbols {
    /// From the text of a `System.map`.
    ///
    /// # Errors
    /// The first line that is none of a `System.map`.
    pub fn from_map(text: &str) -> Result<Self, SymbolsError> {
        let mut symbols = Self::default();
        // Not by `lines`: there are tens of thousands, and every run reads them.
        let mut start = 0;
        let ends = memchr::memchr_iter(b'\n', text.as_bytes()).chain([text.len()]);
        for (index, end) in ends.enumerate() {
            let line = &text[start..end];
            start = (end + 1).min(text.len());
            if line.is_empty() && end == text.len() {
                break;
            }
            if let Some((address, kind, name)) = plain(line) {
                symbols.add(name, address, kind);
                continue;
            }
            let mut fields = line.split_ascii_whitespace();
            match (fields.next().map(|it| u64::from_str_radix(it, 16)), fields.next(), fields.next()) {
                (Some(Ok(address)), Some(kind), Some(name)) => {
                    symbols.add(name, address, kind.as_bytes()[0]);
                }
                _ => return Err(SymbolsError::Line { line: index + 1, text: line.to_owned() }),
            }
        }
        Ok(symbols.sorted())
    }

    /// From the symbol table of a vmlinux; empty for a stripped one.
    ///
    /// # Errors
    /// `bytes` are no ELF file.
    pub fn from_elf(bytes: &[u8]) -> Result<Self, SymbolsError> {
        let mut symbols = Self::default();
        for symbol in object::File::parse(bytes)?.symbols() {
            let kind = symbol.kind();
            let wanted = symbol.is_definition() && !matches!(kind, SymbolKind::File | SymbolKind::Section);
            if let Some(name) = symbol.name().ok().filter(|name| wanted && !name.is_empty()) {
                let kind = if kind == SymbolKind::Text { b't' } else { b'd' };
                let kind = if symbol.is_global() { kind.to_ascii_uppercase() } else { kind };
                symbols.add(name, symbol.address(), kind);
            }
        }
        Ok(symbols.sorted())
    }

    /// As the text of a `System.map`, sorted by address; what is no code is data.
    pub fn to_map(&self) -> String {
        let code: std::collections::HashSet<u32> = self.text.iter().copied().collect();
        let line = |index: u32| {
            let Symbol { address, global, .. } = &self.all[index as usize];
            let kind = if code.contains(&index) { 't' } else { 'd' };
            let kind = if *global { kind.to_ascii_uppercase() } else { kind };
            (*address, format!("{address:016x} {kind} {}\n", self.symbol(index).1))
        };
        let all: std::collections::BTreeSet<_> = (0..self.all.len() as u32).map(line).collect();
        all.into_iter().map(|(_, line)| line).collect()
    }

    /// `kind` is the letter of nm(1).
    fn add(&mut self, name: &str, address: u64, kind: u8) {
        let start = self.names.len();
        // A table of 4 GiB of names is none of a kernel.
        let (Ok(start), Ok(end), Ok(index)) =
            (start.try_into(), (start + name.len()).try_into(), self.all.len().try_into())
        else {
            return;
        };
        self.names.push_str(name);
        let global = kind.is_ascii_uppercase();
        self.all.push(Symbol { address, name: start..end, global });
        let Self { names, all, by_name, again, hasher, text } = self;
        let hash = |index: &u32| hasher.hash_one(name_of(names, &all[*index as usize]));
        let known = |it: &u32| name_of(names, &all[*it as usize]) == name;
        match by_name.find_mut(hash(&index), known) {
            None => _ = by_name.insert_unique(hash(&index), index, hash),
            Some(first) if global && !all[*first as usize].global => {
                again.push(std::mem::replace(first, index));
            }
            Some(_) => again.push(index),
        }
        if matches!(kind, b't' | b'T' | b'w' | b'W') {
            text.push(index);
        }
    }

    fn sorted(mut self) -> Self {
        let all = &self.all;
        self.text.sort_by_key(|index| all[*index as usize].address);
        self
    }

    fn symbol(&self, index: u32) -> (u64, &str) {
        let symbol = &self.all[index as usize];
        (symbol.address, name_of(&self.names, symbol))
    }

    /// The code, sorted by address.
    fn code(&self) -> impl Iterator<Item = (u64, &str)> {
        self.text.iter().map(|index| self.symbol(*index))
    }

    /// How many functions begin where this holds, which is at low addresses only.
    fn before(&self, is: impl Fn(u64) -> bool) -> usize {
        self.text.partition_point(|index| is(self.all[*index as usize].address))
    }

    /// Whether the kernel had none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The address of a symbol.
    pub fn address(&self, name: &str) -> Option<u64> {
        let found = self.by_name.find(self.hasher.hash_one(name), |index| self.symbol(*index).1 == name)?;
        Some(self.symbol(*found).0)
    }

    /// The function that holds an address, and how far into it the address is. `None` outside of the
    /// kernel's code (a module's, or data).
    pub fn function(&self, address: u64) -> Option<(&str, u64)> {
        // The linker script's own marks bound what is code.
        let last = || Some(self.symbol(*self.text.last()?).0.saturating_add(1));
        let end = self.address("_etext").or_else(last)?;
        let init = self.address("_sinittext").zip(self.address("_einittext"));
        let in_init = init.is_some_and(|(from, to)| (from..to).contains(&address));
        let floor = self.floor();
        let (start, _) = self.symbol(*self.text.get(self.before(|it| it < floor))?);
        if !in_init && !(start..end).contains(&address) {
            return None;
        }
        let after = self.before(|start| start <= address);
        let (start, _) = self.symbol(*self.text.get(after.checked_sub(1)?)?);
        // Of several names for one address (aliases), the first that the kernel's table has; a section's mark is none if
        // there is another.
        let names = &self.text[self.before(|it| it < start)..after];
        let mut names = names.iter().map(|index| self.symbol(*index).1);
        let first = names.next()?;
        let name = if is_mark(first) { names.find(|name| !is_mark(name)).unwrap_or(first) } else { first };
        Some((name, address - start))
    }

    /// Below this there are no kernel addresses: per-CPU and absolute symbols of the table lie there.
    fn floor(&self) -> u64 {
        self.address("_text").or_else(|| self.address("_stext")).unwrap_or(0)
    }

    /// Those of these names that the kernel has, with their addresses.
    pub fn landmarks(&self, names: &[&str]) -> BTreeMap<String, u64> {
        names.iter().filter_map(|name| Some(((*name).to_owned(), self.landmark(name)?))).collect()
    }

    /// Where those of these functions begin and end that the kernel has; of one that the compiler changed for its callers,
    /// all that came of it.
    pub fn bounds(&self, names: &[&str]) -> Vec<Function> {
        // Most are of no interest by their first letter.
        let mut begins = [false; 256];
        names.iter().filter_map(|name| name.bytes().next()).for_each(|byte| begins[usize::from(byte)] = true);
        let wanted = |name: &str| {
            if !name.bytes().next().is_some_and(|byte| begins[usize::from(byte)]) {
                return false;
            }
            let (base, rest) = name.split_once('.').unwrap_or((name, ""));
            names.contains(&base) && !rest.ends_with("cold")
        };
        let found = self.code().filter(|(_, name)| wanted(name)).filter_map(|(start, name)| {
            let after = self.text.get(self.before(|address| address <= start))?;
            Some(Function { name: name.to_owned(), code: start..self.symbol(*after).0 })
        });
        found.collect()
    }

    /// The first of these names that more than one symbol may be meant by, with where they are. Any file of a kernel may have a symbol that is
    /// called like another's, and that all of the kernel knows one of them does not make it the kernel's own, which may be its file's alone.
    pub fn doubtful<'n>(&self, names: &[&'n str]) -> Option<(&'n str, Vec<u64>)> {
        let clones: Vec<_> = self.code().filter(|(_, name)| name.contains('.')).collect();
        names.iter().find_map(|name| {
            let others = self.again.iter().map(|index| self.symbol(*index)).filter(|(_, it)| it == name);
            let clones = clones.iter().copied().filter(|it| is_clone(name, it.1));
            let mut at: Vec<u64> = others.chain(clones).map(|(address, _)| address).collect();
            at.extend(self.address(name));
            at.sort_unstable();
            at.dedup();
            (at.len() > 1).then_some((*name, at))
        })
    }

    fn landmark(&self, name: &str) -> Option<u64> {
        self.address(name).or_else(|| Some(self.code().find(|it| is_clone(name, it.1))?.0))
    }
}

/// A function that the compiler changed for its callers has a suffix: `.isra.0`, `.constprop.0`. What is `.cold` is a part of it, elsewhere.
fn is_clone(name: &str, it: &str) -> bool {
    it.strip_prefix(name).is_some_and(|rest| rest.starts_with('.') && !rest.ends_with(".cold"))
}

/// `ffffffff81000000 T _text`, as every line but those of rubbish is.
fn plain(line: &str) -> Option<(u64, u8, &str)> {
    let (digits, rest) = line.as_bytes().split_first_chunk::<16>()?;
    let [b' ', kind, b' ', ..] = rest else { return None };
    let mut address = 0;
    for digit in digits {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        address = address << 4 | u64::from(value);
    }
    let name = line.get(19..)?;
    let is_one = !name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_whitespace());
    is_one.then_some((address, *kind, name))
}

fn name_of<'n>(names: &'n str, symbol: &Symbol) -> &'n str {
    &names[symbol.name.start as usize..symbol.name.end as usize]
}

/// Whether the linker script put this name at the beginning or the end of a section.
fn is_mark(name: &str) -> bool {
    name.starts_with("__") && (name.ends_with("_start") || name.ends_with("_end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "0000000000000000 D __per_cpu_start\n0000000000000000 T startup_in_per_cpu\n\
        ffffffff81000000 T _text\nffffffff81000000 T _stext\nffffffff81000100 t do_one\n\
        ffffffff81000200 T __hot_text_start\nffffffff81000200 T alias_a\nffffffff81000200 T alias_b\nffffffff81000300 T _etext\n\
        ffffffff82000000 d prb\nffffffff83000000 T _sinittext\nffffffff83000010 t init_this\n\
        ffffffff83000100 T _einittext\n";

    #[test]
    fn functions_are_found_from_inside() {
        let symbols = Symbols::from_map(MAP).unwrap();
        assert_eq!(symbols.function(0xffff_ffff_8100_0123), Some(("do_one", 0x23)));
        assert_eq!(symbols.function(0xffff_ffff_8100_0200), Some(("alias_a", 0)));
        assert_eq!(symbols.function(0xffff_ffff_8300_0011), Some(("init_this", 1)));
    }

    #[test]
    fn addresses_outside_of_code_have_no_function() {
        let symbols = Symbols::from_map(MAP).unwrap();
        for address in
            [0, 0x10, 0xffff_ffff_8100_0300, 0xffff_ffff_8200_0000, 0xffff_ffff_c000_0000, u64::MAX]
        {
            assert_eq!(symbols.function(address), None, "{address:#x}");
        }
    }

    #[test]
    fn a_function_has_bounds_and_so_has_all_that_the_compiler_made_of_it() {
        let map = "ffffffff81000000 T _text\nffffffff81000010 t wait\nffffffff81000020 t wait.constprop.0\n\
                   ffffffff81000030 t wait.isra.0.cold\nffffffff81000040 T waits\nffffffff81000050 T _etext\n";
        let bounds = Symbols::from_map(map).unwrap().bounds(&["wait", "nothing"]);
        let at = |offset: u64| 0xffff_ffff_8100_0000 + offset;
        let expected = [("wait", 0x10, 0x20), ("wait.constprop.0", 0x20, 0x30)];
        assert_eq!(
            bounds,
            expected.map(|(name, start, end)| Function { name: name.into(), code: at(start)..at(end) })
        );
    }

    #[test]
    fn landmarks_are_those_that_exist() {
        let landmarks = Symbols::from_map(MAP).unwrap().landmarks(&["prb", "nothing"]);
        assert_eq!(landmarks, BTreeMap::from([("prb".to_owned(), 0xffff_ffff_8200_0000)]));
        let symbols =
            Symbols::from_map("ffffffff81000000 T one.cold\nffffffff81000010 t one.isra.0\n").unwrap();
        assert_eq!(
            symbols.landmarks(&["one", "bot"]),
            BTreeMap::from([("one".to_owned(), 0xffff_ffff_8100_0010)])
        );
    }

    #[test]
    fn of_several_symbols_of_one_name_none_is_the_kernels_own_for_certain() {
        let map = "0000000000001000 d _text\nffffffff81000000 T _text\nffffffff81000100 t wait\n\
                   ffffffff81000200 t wait.isra.0\nffffffff81000300 t one.isra.0\nffffffff81000310 t one.isra.0.cold\n\
                   ffffffff81000400 t switch.isra.0\nffffffff81000410 t count.isra.0\nffffffff81000500 T switch\n\
                   ffffffff82000000 d prb\nffffffff82000100 b tainted\nffffffff82000200 d tainted\n\
                   ffffffff82000300 d alias\nffffffff82000300 D alias\nffffffff82000310 d prb.7\n\
                   ffffffff82000400 b mask\nffffffff82000500 B mask\nffffffff82000600 B end\nffffffff82000700 b end\n\
                   ffffffff82000800 d count\n";
        let symbols = Symbols::from_map(map).unwrap();
        assert_eq!(symbols.address("_text"), Some(0xffff_ffff_8100_0000));
        let certain = ["prb", "alias", "one", "nothing"];
        assert_eq!(symbols.doubtful(&certain), None);
        let at = |offset: u64| 0xffff_ffff_8000_0000 + offset;
        // One that all of the kernel knows need not be the kernel's own, whichever comes first, and however the compiler calls that.
        let twins = [
            ("tainted", 0x200_0100, 0x200_0200),
            ("mask", 0x200_0400, 0x200_0500),
            ("end", 0x200_0600, 0x200_0700),
            ("wait", 0x100_0100, 0x100_0200),
            ("switch", 0x100_0400, 0x100_0500),
            ("count", 0x100_0410, 0x200_0800),
        ];
        // What is kept of a kernel that has no such file says the same.
        let again = Symbols::from_map(&symbols.to_map()).unwrap();
        assert_eq!((again.address("_text"), again.doubtful(&certain)), (symbols.address("_text"), None));
        for (name, first, second) in twins {
            let expected = Some((name, vec![at(first), at(second)]));
            assert_eq!(
                (symbols.doubtful(&["prb", name]), again.doubtful(&[name])),
                (expected.clone(), expected)
            );
        }
    }

    #[test]
    fn an_empty_table_answers_nothing() {
        let symbols = Symbols::from_map("").unwrap();
        assert!(symbols.is_empty());
        assert_eq!(symbols.function(0xffff_ffff_8100_0000), None);
    }

    #[test]
    fn rubbish_is_shown_with_its_line() {
        let error = Symbols::from_map("ffffffff81000000 T _text\nELF\n").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("ELF"), "{error}");
        assert!(Symbols::from_elf(b"no elf at all").is_err());
    }

    #[test]
    fn elf_symbols_are_those_of_this_test_itself() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let symbols = Symbols::from_elf(&bytes).unwrap();
        let main = symbols.address("main").unwrap();
        assert!(symbols.code().any(|(address, name)| name == "main" && address == main));
    }
}
