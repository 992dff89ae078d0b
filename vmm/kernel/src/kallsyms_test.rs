use super::*;

/// Where the tables stand.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    OffsetsFirst,
    OffsetsLast,
}

const BASE: u64 = 0xffff_ffff_8100_0000;

/// As scripts/kallsyms.c writes them: pieces are single letters but for one that is longer.
fn image(order: Order, absolute: bool, count: usize) -> (Vec<u8>, Vec<Symbol>) {
    let pieces: Vec<Vec<u8>> = (0..=255u8)
        .map(|token| match token {
            b' '..=b'~' => vec![token],
            1 => b"sys_".to_vec(),
            _ => b"unused".to_vec(),
        })
        .collect();
    let mut symbols = vec![(3, 'A', "percpu".to_owned())];
    if !absolute {
        symbols.clear();
    }
    while symbols.len() < count {
        let n = symbols.len() as u64;
        let name = if n == 700 { "x".repeat(300) } else { format!("sys_{n}") };
        symbols.push((BASE + n * 16, 'T', name));
    }
    let (mut names, mut markers, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (address, kind, name)) in symbols.iter().enumerate() {
        if index % 256 == 0 {
            markers.extend((names.len() as u32).to_le_bytes());
        }
        let text = format!("{kind}{name}").replace("sys_", "\u{1}");
        match text.len() {
            short @ ..128 => names.push(short as u8),
            long => names.extend([(long & 0x7f) as u8 | 0x80, (long >> 7) as u8]),
        }
        names.extend(text.bytes());
        let offset = match (absolute, *address < TEXT) {
            (false, _) => (address - BASE) as u32,
            (true, true) => *address as u32,
            (true, false) => (BASE.wrapping_sub(1).wrapping_sub(*address)) as u32,
        };
        offsets.extend(offset.to_le_bytes());
    }
    let (mut table, mut index) = (Vec::new(), Vec::new());
    for piece in &pieces {
        index.extend((table.len() as u16).to_le_bytes());
        table.extend(piece);
        table.push(0);
    }
    let addresses = [offsets, BASE.to_le_bytes().to_vec()];
    let rest = [(count as u64).to_le_bytes().to_vec(), names, markers, table, index];
    let parts: Vec<Vec<u8>> = match order {
        Order::OffsetsFirst => addresses.into_iter().chain(rest).collect(),
        Order::OffsetsLast => rest.into_iter().chain(addresses).collect(),
    };
    let mut image = vec![0xcc; 4096];
    for part in parts {
        image.extend(part);
        image.resize(align(image.len()), 0);
    }
    image.extend([0xcc; 4096]);
    (image, symbols)
}

#[test]
fn both_orders_and_both_kinds_of_offsets_are_read() {
    for (order, absolute) in [
        (Order::OffsetsFirst, true),
        (Order::OffsetsFirst, false),
        (Order::OffsetsLast, true),
        (Order::OffsetsLast, false),
    ] {
        let (image, symbols) = image(order, absolute, 1500);
        assert!(find(&image).unwrap() == symbols, "{order:?} {absolute}");
    }
}

#[test]
fn what_is_cut_off_or_not_there_gives_nothing() {
    assert_eq!(find(&[]), None);
    assert_eq!(find(&[0; 100_000]), None);
    let (image, _) = image(Order::OffsetsLast, false, 1500);
    for cut in (0..image.len() - 4096).step_by(997) {
        assert_eq!(find(&image[..cut]), None, "{cut}");
    }
}

#[test]
fn the_map_is_in_order_and_can_be_read() {
    let text = system_map(vec![(16, 't', "b".into()), (8, 'T', "a".into())]);
    assert_eq!(text, "0000000000000008 T a\n0000000000000010 t b\n");
    assert_eq!(crate::symbols::Symbols::from_map(&text).unwrap().address("b"), Some(16));
}

#[test]
fn an_image_full_of_what_could_be_tables_is_given_up_soon() {
    let (mut image, _) = image(Order::OffsetsFirst, false, 1500);
    // At each place a number, and behind it names: of one byte, of which each is a length as well.
    let number = 3_000_000u64.to_le_bytes();
    let tables = image.split_off(4096);
    for _ in 0..1 << 20 {
        image.extend(number);
    }
    image.resize(image.len() + (16 << 20), 1);
    image.extend(&tables[tables.len() / 2..]);
    let start = std::time::Instant::now();
    assert!(find(&image).is_none());
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}
