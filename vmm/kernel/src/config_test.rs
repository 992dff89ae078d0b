use super::*;
use std::fs;

fn requests(text: &str) -> Vec<Request> {
    parse(Path::new("base.config"), text).unwrap()
}

fn kernel(kconfig: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("drivers")).unwrap();
    fs::create_dir_all(folder.path().join("arch/arm")).unwrap();
    fs::write(folder.path().join("drivers/Kconfig.net"), kconfig).unwrap();
    fs::write(folder.path().join("arch/arm/Kconfig"), "config NET\n\tdepends on ARM_ONLY\n").unwrap();
    folder
}

fn lost_text(asked: &str, got: &str, kconfig: &str) -> String {
    let folder = kernel(kconfig);
    let lost = lost(&requests(asked), got, folder.path());
    lost.iter().map(|lost| lost.to_string() + "\n").collect()
}

#[test]
fn fragments_have_values_of_every_kind() {
    let got = requests(
        "# why\nCONFIG_A=y\n\n# CONFIG_B is not set\nCONFIG_C=\"-vmm\"\nCONFIG_D=0x10\nCONFIG_E=m\nCONFIG_F=-1\n",
    );
    let got: Vec<_> = got.iter().map(|it| (it.symbol.as_str(), it.value.as_str(), it.line)).collect();
    assert_eq!(
        got,
        [("A", "y", 2), ("B", "n", 4), ("C", "\"-vmm\"", 5), ("D", "0x10", 6), ("E", "m", 7), ("F", "-1", 8)]
    );
}

#[test]
fn a_line_that_is_no_assignment_is_shown() {
    for text in ["CONFIG_A", "A=y", "CONFIG_A=yes", "CONFIG_A = y", "CONFIG_A=\"open"] {
        let error = parse(Path::new("x.config"), &format!("CONFIG_OK=y\n{text}\n")).unwrap_err().to_string();
        assert!(error.contains("x.config, line 2") && error.ends_with(text), "{error}");
    }
}

#[test]
fn the_later_of_two_requests_counts() {
    let asked = requests("CONFIG_A=y\nCONFIG_B=y\nCONFIG_A=n\n");
    assert_eq!(merge("CONFIG_A=m\nCONFIG_Z=y\n", &asked), "CONFIG_Z=y\nCONFIG_B=y\n# CONFIG_A is not set\n");
    assert!(lost(&asked, "CONFIG_B=y\n", Path::new("/nowhere")).is_empty());
}

#[test]
fn what_is_asked_for_if_possible_is_no_loss() {
    let kconfig = "config NET\n\tbool \"net\"\n\tdepends on PCI\n";
    assert_eq!(lost_text("# if-possible\nCONFIG_NET=y\n# if-possible\nCONFIG_NOBODY=m\n", "", kconfig), "");
    // It says so of one symbol.
    let text = lost_text("# if-possible\nCONFIG_NET=y\nCONFIG_NOBODY=m\n", "", kconfig);
    assert!(text.contains("CONFIG_NOBODY=m") && !text.contains("CONFIG_NET"), "{text}");
}

#[test]
fn what_survived_is_not_lost() {
    let asked = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"x\"\nCONFIG_D=n\n";
    assert_eq!(lost_text(asked, "CONFIG_A=y\nCONFIG_C=\"x\"\n# CONFIG_D is not set\n", ""), "");
}

#[test]
fn a_lost_symbol_is_shown_with_what_it_depends_on() {
    let kconfig = "if NETDEVICES\nconfig NET\n\tbool \"net\"\n\tdepends on PCI && !SMALL\n\tdepends on FINE\n\nendif\n\
                   config OTHER\n\tdepends on NOTHING\n";
    let text =
        lost_text("CONFIG_NET=y\n", "# CONFIG_PCI is not set\nCONFIG_SMALL=y\nCONFIG_FINE=y\n", kconfig);
    assert_eq!(
        text,
        "base.config:1: CONFIG_NET=y was dropped; depends on NETDEVICES && PCI && !SMALL && FINE \
         (NETDEVICES is not set, PCI is not set, SMALL is y)\n"
    );
}

#[test]
fn every_way_to_get_lost_is_noticed() {
    let text = lost_text("CONFIG_A=y\n", "CONFIG_A=m\n", "");
    assert!(text.contains("CONFIG_A=y became m"), "{text}");
    let text = lost_text("# CONFIG_A is not set\n", "CONFIG_A=y\n", "config A\n\tbool\n");
    assert!(text.contains("CONFIG_A=n became y; it can't be chosen"), "{text}");
    let text = lost_text("CONFIG_A=\"x\"\n", "CONFIG_A=\"y\"\n", "");
    assert!(text.contains("CONFIG_A=\"x\" became \"y\""), "{text}");
}

#[test]
fn what_selects_a_symbol_is_named() {
    let kconfig = "config SERIO\n\ttristate \"Serial I/O\"\n\tdefault y\n\nconfig ATKBD\n\ttristate \"AT keyboard\"\n\tselect SERIO\n\
        \thelp\n\t  It has to\n\t  select SERIO\n\nconfig MOUSE\n\tselect SERIO if X86\nconfig OFF\n\tselect SERIO\n";
    let text = lost_text("# CONFIG_SERIO is not set\n", "CONFIG_SERIO=y\nCONFIG_ATKBD=m\n", kconfig);
    assert_eq!(
        text,
        "base.config:1: CONFIG_SERIO=n became y; ATKBD selects it, and would have to be off, too\n"
    );
    let text = lost_text("CONFIG_SERIO=m\n", "CONFIG_SERIO=y\nCONFIG_ATKBD=y\nCONFIG_MOUSE=y\n", kconfig);
    assert!(text.contains("ATKBD and MOUSE (if X86) select it"), "{text}");
}

/// Each entry takes the conditions around it: those of a file that opens one with every entry would multiply.
#[test]
fn conditions_without_end_are_cut_off() {
    let many: String = (0..3000).map(|index| format!("if X{index}\nconfig NET\n\tbool \"net\"\n")).collect();
    let before = std::time::Instant::now();
    let text = lost_text("CONFIG_NET=y\n", "", &many);
    assert!(
        text.contains("X0 && X1 && ") && text.contains("X63 is not set") && !text.contains("X64"),
        "{text}"
    );
    assert!(before.elapsed() < std::time::Duration::from_secs(10), "{:?}", before.elapsed());
}

#[test]
fn a_symbol_that_only_experts_may_choose_says_so() {
    let kconfig = "config INPUT\n\ttristate \"Input (needed for \\\"all\\\")\" if EXPERT\n\tdefault y\n";
    let text = lost_text("# CONFIG_INPUT is not set\n", "CONFIG_INPUT=y\n", kconfig);
    assert!(text.contains("it can be chosen only if EXPERT (EXPERT is not set)"), "{text}");
}

#[test]
fn a_symbol_that_no_kernel_has_is_told_so() {
    let text = lost_text("CONFIG_VIRTOI=y\n", "", "config VIRTIO\n");
    assert!(text.contains("no Kconfig file of this kernel knows it; `# if-known` above"), "{text}");
}

#[test]
fn all_lost_symbols_are_in_the_message() {
    let folder = kernel("");
    let error = ConfigError::Lost(lost(&requests("CONFIG_A=y\nCONFIG_B=y\n"), "", folder.path())).to_string();
    assert!(
        error.contains("2 symbols") && error.contains("CONFIG_A=y") && error.contains("CONFIG_B=y"),
        "{error}"
    );
}

#[test]
fn nothing_is_lost_where_nothing_was_asked_for() {
    let requests = parse(Path::new("f"), "# CONFIG_A is not set\nCONFIG_B=\"\"\n").unwrap();
    assert_eq!(lost(&requests, "", Path::new("/nowhere")), []);
    assert_eq!(lost(&requests, "CONFIG_A=y\nCONFIG_B=\"x\"\n", Path::new("/nowhere")).len(), 2);
}

#[test]
fn a_symbol_may_be_asked_for_only_where_it_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let requests = parse(Path::new("f"), "# if-known\nCONFIG_OLD=y\nCONFIG_NEW=y\n").unwrap();
    let symbols = |lost: Vec<Lost>| lost.into_iter().map(|it| it.request.symbol).collect::<Vec<_>>();
    fs::write(folder.path().join("Kconfig"), "").unwrap();
    assert_eq!(symbols(lost(&requests, "", folder.path())), ["NEW"]);
    // Known, and lost all the same: that is an error.
    fs::write(folder.path().join("Kconfig"), "config OLD\n\tdepends on X\n").unwrap();
    assert_eq!(symbols(lost(&requests, "", folder.path())), ["OLD", "NEW"]);
}

#[test]
fn the_difference_of_two_configurations_is_a_fragment() {
    let fragment =
        difference("CONFIG_A=y\nCONFIG_B=m\nCONFIG_D=y\n", "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=7\n");
    assert_eq!(fragment, "# CONFIG_B is not set\nCONFIG_C=7\n# CONFIG_D is not set\n");
}

#[test]
fn a_symbol_may_be_for_older_kernels_only() {
    let text = "# before 6.9\nCONFIG_OLD=y\nCONFIG_NEW=y\n# before long\nCONFIG_ALWAYS=y\n";
    let symbols = |kernel: &str| {
        let mut requests = requests(text);
        keep_for(&mut requests, kernel);
        requests.into_iter().map(|it| it.symbol).collect::<Vec<_>>()
    };
    assert_eq!(symbols("6.9.0"), ["NEW", "ALWAYS"]);
    assert_eq!(symbols("6.12.117"), ["NEW", "ALWAYS"]);
    assert_eq!(symbols("6.8.12"), ["OLD", "NEW", "ALWAYS"]);
    assert_eq!(symbols("5.10.1"), ["OLD", "NEW", "ALWAYS"]);
    // It may be called otherwise there.
    let old = requests("# before 6.9\nCONFIG_OLD=y\n");
    assert!(lost(&old, "", kernel("config NEW\n\tbool \"new\"\n").path()).is_empty());
}

/// What is new since the oldest kernel that is supported is asked for only of those that know it.
#[test]
fn the_fragments_of_every_kernel_ask_old_ones_for_nothing_new() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernel-patches/config");
    let newer = [
        "CPU_MITIGATIONS",
        "MITIGATION_PAGE_TABLE_ISOLATION",
        "MODPROBE_PATH",
        "LIST_HARDENED",
        "DEBUG_INFO_NONE",
        "PROC_MEM_NO_FORCE",
        "RUST",
    ];
    for name in ["base.config", "guest.config"] {
        let path = folder.join(name);
        let mut all = parse(&path, &fs::read_to_string(&path).unwrap()).unwrap();
        let must =
            all.iter().filter(|it| it.need == Need::Must && it.value != "n").map(|it| it.symbol.as_str());
        assert_eq!(must.filter(|symbol| newer.contains(symbol)).collect::<Vec<_>>(), [""; 0], "{name}");
        // What is for older ones changes no kernel of today.
        let before = all.len();
        for kernel in ["6.12.117", "7.3.0"] {
            keep_for(&mut all, kernel);
            assert!(all.len() < before && all.iter().all(|it| it.before.is_none()), "{name} {kernel}");
        }
    }
}
