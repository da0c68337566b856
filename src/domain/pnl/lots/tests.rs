//! Which lots go first, and what a part of one is worth.

use super::*;
use uuid::Uuid;

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn amounts(text: &str) -> Amounts {
    Amounts { own: d(text), base: Some(d(text)) }
}

/// Lots opened one after the other: units, value, costs.
fn opened(method: CostBasis, lots: &[(&str, &str, &str)]) -> Lots {
    let mut open = Lots::default();
    for (number, (quantity, gross, costs)) in (1_u64..).zip(lots) {
        let place = i64::try_from(number).unwrap();
        let (quantity, gross, costs) = (d(quantity), amounts(gross), amounts(costs));
        let transaction = TransactionId(Uuid::from_u128(u128::from(number)));
        let acquired_at = Moment(place);
        open.insert(
            Lot { number, transaction, acquired_at, place, quantity, unit: None, gross, costs },
            method,
        );
    }
    open
}

fn numbers(open: &Lots) -> Vec<u64> {
    open.0.iter().map(|lot| lot.number).collect()
}

#[test]
fn hifo_weighs_costs_by_what_they_do_to_the_gain() {
    let lots = [("10", "1000", "30"), ("10", "980", "0"), ("10", "1020", "0")];
    // Bought: 103, 98 and 102 a unit. The dearest goes first.
    let mut long = opened(CostBasis::Hifo, &lots);
    long.take(&d("10"), CostBasis::Hifo, false, &[]).unwrap();
    assert_eq!(numbers(&long), [2, 3]);
    // Sold: 97, 98 and 102 a unit. The cheapest goes first.
    let mut short = opened(CostBasis::Hifo, &lots);
    short.take(&d("20"), CostBasis::Hifo, true, &[]).unwrap();
    assert_eq!(numbers(&short), [3]);
}

#[test]
fn equal_lots_go_by_date() {
    let lots = [("5", "50", "0"), ("1", "10", "0"), ("2", "20", "0")];
    for cheapest_first in [false, true] {
        let mut open = opened(CostBasis::Hifo, &lots);
        open.take(&d("5"), CostBasis::Hifo, cheapest_first, &[]).unwrap();
        assert_eq!(numbers(&open), [2, 3]);
    }
}

#[test]
fn the_last_third_is_what_the_others_leave() {
    let mut open = opened(CostBasis::Fifo, &[("3", "100", "1")]);
    let thirds: Vec<Piece> =
        (0..3).flat_map(|_| open.take(&d("1"), CostBasis::Fifo, false, &[]).unwrap()).collect();
    assert_eq!(thirds.iter().fold(Amounts::ZERO, |sum, piece| &sum + &piece.gross), amounts("100"));
    assert_eq!(thirds.iter().fold(Amounts::ZERO, |sum, piece| &sum + &piece.costs), amounts("1"));
    assert!(open.0.is_empty());
}

#[test]
fn a_split_rounds_the_total_once() {
    let mut open = opened(CostBasis::Fifo, &[("1", "10", "0"), ("2", "20", "0"), ("1", "30", "0")]);
    open.split(&d("1"), &d("3"));
    assert_eq!(open.quantity(), d("4").divide(&d("3")).unwrap());
    let mut open = opened(CostBasis::Fifo, &[("1", "10", "0"), ("1", "20", "0"), ("1", "30", "0")]);
    open.split(&d("1"), &d("3"));
    assert_eq!(open.quantity(), d("1"));
}

#[test]
fn a_unit_value_survives_a_split_only_where_it_ends() {
    let mut open = opened(CostBasis::Fifo, &[("10", "30", "0")]);
    open.0[0].unit = Some(d("3"));
    open.split(&d("2"), &d("1"));
    assert_eq!(open.0[0].unit, Some(d("1.5")));
    open.split(&d("7"), &d("1"));
    assert_eq!(open.0[0].unit, None);
}

#[test]
fn named_lots_must_be_there_and_add_up() {
    let pick = |number, quantity| LotPick {
        transaction: TransactionId(Uuid::from_u128(number)),
        quantity: d(quantity),
    };
    let lots = [("5", "50", "0"), ("5", "60", "0")];
    let mut take = {
        let mut open = opened(CostBasis::Specific, &lots);
        move |quantity: &str, picks: &[LotPick]| open.take(&d(quantity), CostBasis::Specific, false, picks)
    };
    assert_eq!(take("1", &[]), Err(PickError::NothingNamed));
    let wrong = PickError::WrongSum { named: d("2"), quantity: d("1") };
    assert_eq!(take("1", &[pick(1, "2")]), Err(wrong));
    assert_eq!(take("1", &[pick(3, "1")]), Err(PickError::NoSuchLot(pick(3, "1").transaction)));
    let large = PickError::TooLarge { lot: pick(2, "1").transaction, held: d("5"), asked: d("6") };
    assert_eq!(take("6", &[pick(2, "6")]), Err(large));
    let taken = take("6", &[pick(2, "5"), pick(1, "1")]).unwrap();
    assert_eq!(
        taken.iter().map(|piece| piece.gross.clone()).collect::<Vec<_>>(),
        [amounts("60"), amounts("10")]
    );
}

#[test]
fn a_pick_of_an_entry_that_is_in_several_lots_goes_on_in_the_next() {
    let mut open = opened(CostBasis::Specific, &[("2", "20", "0"), ("2", "30", "0"), ("5", "10", "0")]);
    let transaction = open.0[0].transaction;
    open.0[1].transaction = transaction;
    let whole = open.clone();
    let pick = LotPick { transaction, quantity: d("3") };
    let pieces = open.take(&d("3"), CostBasis::Specific, false, &[pick]).unwrap();
    let taken: Vec<(Decimal, Amounts)> =
        pieces.into_iter().map(|piece| (piece.quantity, piece.gross)).collect();
    assert_eq!(taken, [(d("2"), amounts("20")), (d("1"), amounts("15"))]);
    let left: Vec<(u64, Decimal)> = open.0.iter().map(|lot| (lot.number, lot.quantity.clone())).collect();
    assert_eq!(left, [(2, d("1")), (3, d("5"))]);
    assert_eq!((open.quantity(), whole.quantity()), (d("6"), d("9")));
    assert!(open != whole && whole == whole.clone());
}

#[test]
fn a_pick_that_ends_with_a_lot_takes_nothing_of_the_next() {
    let mut open = opened(CostBasis::Specific, &[("2", "20", "0"), ("2", "30", "0")]);
    let transaction = open.0[0].transaction;
    open.0[1].transaction = transaction;
    let pick = LotPick { transaction, quantity: d("2") };
    let pieces = open.take(&d("2"), CostBasis::Specific, false, &[pick]).unwrap();
    let taken: Vec<Decimal> = pieces.into_iter().map(|piece| piece.quantity).collect();
    assert_eq!(taken, [d("2")]);
}
