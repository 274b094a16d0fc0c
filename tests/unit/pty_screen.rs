//! A screen drawn again is the same screen, wherever it was cut.

use lanes::pty::Size;
use lanes::pty::screen::{Model, View};
use proptest::prelude::*;

fn size(cols: u16, rows: u16) -> Size {
    Size::new(cols, rows).expect("a size")
}

fn model(output: &[u8]) -> Model {
    let mut model = Model::new(size(20, 6));
    model.feed(output);
    model
}

fn shown(drawing: &[u8]) -> String {
    String::from_utf8_lossy(drawing).replace('\x1b', "␛")
}

/// What `rest` makes of the screen after `before`, drawn as it is and drawn in between.
#[track_caller]
fn check(before: &[u8], rest: &[u8]) {
    let mut whole = model(&[before, rest].concat());
    let mut first = model(before);
    assert!(first.is_between(), "cut in a sequence");
    let drawing = first.draw();
    let mut second = model(&drawing);
    second.feed(rest);
    assert_eq!(second.cursor(), whole.cursor(), "by {}", shown(&drawing));
    // Cells, pens, modes and cursor; a blank is a blank, written or not.
    let look = |model: &mut Model| shown(&View::new(size(20, 6)).update(model));
    assert_eq!(look(&mut second), look(&mut whole), "by {}", shown(&drawing));
}

#[test]
fn text_pen_and_cursor_are_drawn_again() {
    check(b"one\r\ntwo \x1b[1;31mred", b" more\r\n\x1b[0mplain");
    check("wide 日本語\r\n\x1b[48;5;4mon blue\x1b[K".as_bytes(), b"\x1b[H!");
    check(b"", b"x");
}

#[test]
fn a_plain_emulator_is_brought_to_the_same_screen() {
    let output =
        b"shell\r\n\x1b[?1049h\x1b[2J\x1b[?2004h\x1b[?1002h\x1b[?1006h\x1b[?25l\x1b[1;32mgreen\x1b[5;7Hx";
    let parser = || vt100::Parser::new(6.try_into().expect("not 0"), 20.try_into().expect("not 0"), 0);
    let (mut original, mut copy) = (parser(), parser());
    original.process(output);
    copy.process(&model(output).draw());
    let (original, copy) = (original.screen(), copy.screen());
    assert_eq!(copy.contents_formatted(), original.contents_formatted());
    assert_eq!(copy.cursor_position(), original.cursor_position());
    assert!(copy.alternate_screen() && copy.bracketed_paste() && copy.hide_cursor());
    assert_eq!(copy.mouse_protocol_mode(), original.mouse_protocol_mode());
}

#[test]
fn a_cursor_behind_the_last_column_wraps_with_the_next_letter() {
    check(b"12345678901234567890", b"x");
    check(b"\x1b[7m12345678901234567890", b"\r!");
    check("123456789012345678日".as_bytes(), b"x");
}

#[test]
fn margins_and_origin_hold_for_what_follows() {
    check(b"a\r\nb\r\nc\r\nd\x1b[2;4r\x1b[4;1H", b"\n\nx");
    check(b"\x1b[2;4r\x1b[?6h\x1b[2;3Hx", b"\x1b[Hy\x1b[9;1Hz");
}

#[test]
fn what_was_saved_is_restored_afterwards() {
    check(b"\x1b[2;3H\x1b[32m\x1b7\x1b[5;5H\x1b[0mx", b"\x1b8green");
    check(b"\x1b[2;4r\x1b[?6h\x1b[2;3H\x1b7\x1b[?6l", b"x\x1b8y\x1b[Hz");
}

#[test]
fn the_main_screen_is_there_when_the_other_is_left() {
    check(b"main \x1b[33mtext\x1b[?1049h\x1b[Hother", b" more\x1b[?1049l after");
    check(b"main\x1b[?47hother", b"\x1b[?47lmore");
    check(b"main\x1b[?1049h\x1b[2;4r\x1b[4;1H", b"\n\nx\x1b[?1049ly");
}

#[test]
fn lines_are_drawn_as_lines_and_the_set_stays() {
    let model = model(b"\x1b(0lqk\x1b(B ok \x1b)0\x0ex\x0f");
    assert_eq!(model.text(), "┌─┐ ok │");
    check(b"\x1b(0lq", b"qk\x1b(Bq");
    check(b"\x1b)0\x0elq", b"qk\x0fq");
}

#[test]
fn writing_modes_hold_for_what_follows() {
    check(b"abc\x1b[4h\x1b[H", b"xy\x1b[4lz");
    check(b"\x1b[?7l1234567890123456789", b"0abc");
    check(b"\x1b[!p\x1b[?2004h", b"x");
}

#[test]
fn modes_of_keys_and_mouse_are_drawn() {
    let modes =
        b"\x1b[?1h\x1b=\x1b[?1002h\x1b[?1006h\x1b[?1004h\x1b[?2004h\x1b[>5u\x1b[>4;2m\x1b[3 q\x1b[?25l";
    let drawing = shown(&model(modes).draw());
    for mode in ["[?1h", "=", "[?1002h", "[?1006h", "[?1004h", "[?2004h", "[>5u", "[>4;2m", "[3 q", "[?25l"] {
        assert!(drawing.contains(&format!("␛{mode}")), "{mode} in {drawing}");
    }
    check(modes, b"\x1b[<u\x1b[?1002lx");
    let nothing = shown(&model(&[modes.as_slice(), b"\x1bc"].concat()).draw());
    assert!(!nothing.contains("1004"), "{nothing}");
}

#[test]
fn a_letter_or_sequence_in_pieces_is_no_place_to_cut() {
    for (piece, rest) in [(&b"\xe6\x97"[..], &b"\xa5"[..]), (b"\x1b[3", b"1m"), (b"\x1b]0;ti", b"tle\x07")] {
        let mut model = Model::new(size(20, 6));
        model.feed(piece);
        assert!(!model.is_between());
        assert_eq!(model.pending(), piece.len());
        model.feed(rest);
        assert!(model.is_between());
        assert_eq!(model.pending(), 0);
    }
    let mut long = Model::new(size(20, 6));
    let picture = [b"\x1bPq".as_slice(), &[b'~'; 10_000]].concat();
    picture.chunks(1000).for_each(|piece| long.feed(piece));
    assert_eq!(long.pending(), picture.len());
    assert_eq!(model("日本".as_bytes()).text(), "日本");
}

#[test]
fn the_cursor_is_told_as_a_terminal_tells_it() {
    assert_eq!(model(b"ab").cursor(), (1, 3));
    assert_eq!(model(b"12345678901234567890").cursor(), (1, 20));
    assert_eq!(model(b"\x1b[3;5r\x1b[?6h\x1b[2;2H").cursor(), (2, 2));
}

#[test]
fn a_larger_terminal_keeps_its_rows_where_they_are() {
    let mut model = model(b"1\r\n2\r\n3\r\n4\r\n5\r\n6\r\n7\r\n8");
    model.resize(size(20, 9));
    assert_eq!(model.text(), "3\n4\n5\n6\n7\n8");
    assert_eq!(model.cursor(), (6, 2));
    model.resize(size(20, 4));
    assert_eq!(model.text(), "5\n6\n7\n8");
}

#[test]
fn a_window_of_another_size_shows_what_fits() {
    let mut terminal = model("0123456789012345678日\r\nsecond\r\nthird".as_bytes());
    let mut small = Model::new(size(10, 2));
    let mut view = View::new(size(10, 2));
    small.feed(&view.update(&mut terminal));
    assert_eq!(small.text().trim_end(), "0123456789\n日");
    let mut large = Model::new(size(24, 8));
    let mut view = View::new(size(24, 8));
    large.feed(&view.update(&mut terminal));
    let text = large.text();
    assert!(text.contains("日                  ····\nsecond              ····"), "{text}");
    assert!(text.ends_with(&"·".repeat(24)), "{text}");
    assert_eq!(large.cursor(), terminal.cursor());
    terminal.feed(b"!");
    let change = view.update(&mut terminal);
    assert!(change.len() < 200, "{}", shown(&change));
    large.feed(&change);
    assert!(large.text().contains("third!"));
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let csi = (
        prop::sample::select(vec![
            "A", "B", "C", "D", "E", "F", "G", "H", "J", "K", "L", "M", "P", "S", "T", "X", "@", "d",
        ]),
        0..8_u16,
        0..24_u16,
    );
    let modes = vec![
        "\x1b[?6h",
        "\x1b[?6l",
        "\x1b[?7h",
        "\x1b[?7l",
        "\x1b[4h",
        "\x1b[4l",
        "\x1b[?1049h",
        "\x1b[?1049l",
        "\x1b7",
        "\x1b8",
        "\x1b[s",
        "\x1b[u",
        "\x1b[?25l",
        "\x1b[?25h",
        "\x1b[?1004h",
        "\x1b[?2004h",
        "\x1b[?1002h",
        "\x1b[?1006h",
        "\x1b[>1u",
        "\x1b[<u",
        "\x1b[=3;1u",
        "\x1b[>4;1m",
        "\x1b[!p",
        "\x1bc",
        "\x1b(0",
        "\x1b(B",
        "\x1b)0",
        "\x0e",
        "\x0f",
        "\x1bM",
        "\x1bD",
        "\x1bE",
        "\x1b=",
        "\x1b>",
        "\x1b[?5h",
        "\x1b[2 q",
        "\r",
        "\n",
        "\t",
        "\x08",
        "\x1b]0;title\x07",
        "\x1bPq#0\x1b\\",
        "\x1b[?1h",
    ];
    prop_oneof![
        4 => "[a-z ]{1,12}".prop_map(String::into_bytes),
        1 => prop::sample::select(vec!["日", "本語", "é", "─┐"]).prop_map(|s| s.as_bytes().to_vec()),
        2 => csi.prop_map(|(last, one, two)| format!("\x1b[{one};{two}{last}").into_bytes()),
        2 => (0..50_u16, 0..110_u16).prop_map(|(one, two)| format!("\x1b[{one};{two}m").into_bytes()),
        1 => (0..7_u16, 0..7_u16).prop_map(|(top, bottom)| format!("\x1b[{top};{bottom}r").into_bytes()),
        3 => prop::sample::select(modes).prop_map(|s| s.as_bytes().to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_output_may_be_cut_between_sequences(pieces in prop::collection::vec(piece(), 1..40), at in 0..40_usize) {
        let at = at.min(pieces.len());
        check(&pieces[..at].concat(), &pieces[at..].concat());
    }

    #[test]
    fn output_may_arrive_in_any_pieces(pieces in prop::collection::vec(piece(), 1..30), cut in 1..7_usize) {
        let all = pieces.concat();
        let mut whole = model(&all);
        let mut cut_up = Model::new(size(20, 6));
        all.chunks(cut).for_each(|chunk| cut_up.feed(chunk));
        prop_assert_eq!(shown(&cut_up.draw()), shown(&whole.draw()));
    }

    #[test]
    fn nothing_makes_a_model_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), cols in 1..5_u16, rows in 1..4_u16) {
        let mut model = Model::new(size(cols, rows));
        model.feed(&bytes);
        let _drawn = model.draw();
        model.resize(size(rows, cols));
        let _drawn = View::new(size(3, 3)).update(&mut model);
    }
}
