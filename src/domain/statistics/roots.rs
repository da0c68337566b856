//! Every real root of a sum of dated amounts, computed in binary floating point.
//!
//! The present value of amounts `a` at times `t` under the rate `r` is `sum(a (1 + r)^-t)`. With
//! `x = -ln(1 + r)` it is `g(x) = sum(a e^(x t))`, and every rate above -100 % is one real `x`.
//!
//! How many roots there can be is known before they are searched for (Laguerre, Theorie des equations
//! numeriques, 1884; Polya and Szego, Problems and Theorems in Analysis II, part V):
//! - in all, at most as many as the amounts in order of time change sign;
//! - below `x`, at most as many as the partial sums of `a e^(x t)` change sign, from the earliest on;
//! - above `x`, the same with the partial sums from the latest on.
//!
//! Where these bounds say none or one, a bracketed Newton method finds it: the common case, and for an
//! account that is never overdrawn the only one. What is left is cut into intervals until
//! on each the Taylor expansion about its middle, with a bound of its remainder, proves that there is no
//! root, that `g` is monotone, or that `g` is convex or concave, so that the value at its extremum tells
//! none, two, or one double root.
#![expect(clippy::float_arithmetic, reason = "roots are ratios without a unit")]

/// Beyond this no pair of amounts within the limits of input can balance: 365 x ln(10^46) days of one day.
const REACH: f64 = 1e5;
/// Work allowed to the search, in terms evaluated: a bound for hostile input only.
const WORK: usize = 5_000_000;
/// A value within this part of the sum of its absolute terms is zero.
const NOISE: f64 = 1e-13;

/// An amount at a time, in years from the first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Term {
    pub(super) time: f64,
    pub(super) amount: f64,
}

/// The value at a point, scaled by a positive factor, and what Newton's method needs of it.
struct Point {
    value: f64,
    /// Sum of the absolute terms.
    size: f64,
    /// Logarithm of inflows over outflows: nearly straight, and zero where the value is.
    log_ratio: f64,
    slope: f64,
}

/// Expansion about the middle of an interval, and bounds over the whole of it.
struct Expansion {
    centre: f64,
    derivatives: [f64; 3],
    /// Sum of absolute terms at the middle.
    size: f64,
    /// Bounds of the second and third derivative.
    bounds: [f64; 2],
}

/// An interval with the values at its ends, which differ from zero.
#[derive(Clone, Copy)]
struct Piece {
    from: (f64, f64),
    to: (f64, f64),
}

/// All roots `x` of terms in order of time, ascending. Terms have amounts other than zero and different times.
pub(super) fn roots(terms: &[Term]) -> Vec<f64> {
    let (Some(first), Some(last)) = (terms.first(), terms.last()) else { return Vec::new() };
    match changes(terms.iter().map(|term| term.amount)) {
        0 => return Vec::new(),
        1 => return vec![solve(terms, (-REACH, first.amount), (REACH, last.amount), 0.0)],
        _ if (first.amount < 0.0) == (last.amount < 0.0) => {}
        _ => {
            let root = solve(terms, (-REACH, first.amount), (REACH, last.amount), 0.0);
            if is_only(terms, root) {
                return vec![root];
            }
        }
    }
    // Not zero itself, which is a root of every investment that returns what it took.
    let middle = nonzero(terms, 0.001_234_567, 1.7);
    let mut found = below(terms, middle);
    let mirrored: Vec<Term> =
        terms.iter().rev().map(|term| Term { time: last.time - term.time, amount: term.amount }).collect();
    let above = below(&mirrored, -middle);
    found.extend(above.into_iter().map(|x| -x));
    found.sort_by(f64::total_cmp);
    apart(terms, &found)
}

/// Roots without those that rounding makes of one: where the value between two neighbours cannot be told from
/// zero they are one root, and the middle of such a run stands for it.
fn apart(terms: &[Term], found: &[f64]) -> Vec<f64> {
    let one = |a: &f64, b: &f64| {
        let between = value(terms, f64::midpoint(*a, *b));
        between.value.abs() <= NOISE * between.size
    };
    found.chunk_by(one).filter_map(|run| run.get(run.len() / 2).copied()).collect()
}

/// Whether all partial sums at a root but the last, which is zero, have one sign: then so have those from the latest
/// on, and there is no other root. It is so for an account that is never overdrawn at this rate (Soper 1959).
fn is_only(terms: &[Term], root: f64) -> bool {
    let reference = reference(terms, root);
    let others = terms.len().saturating_sub(1);
    let (mut sum, mut size) = (0.0_f64, 0.0);
    let mut signs = terms.iter().take(others).map(|term| {
        let weighed = term.amount * (root * (term.time - reference)).exp();
        sum += weighed;
        size += weighed.abs();
        if sum.abs() > NOISE * size { sum.signum() } else { 0.0 }
    });
    let first = signs.next().unwrap_or(0.0);
    signs.all(|sign| sign * first > 0.0)
}

/// Changes of sign in a sequence, zeros left out.
fn changes(values: impl Iterator<Item = f64>) -> usize {
    let mut last = 0.0_f64;
    let mut changes = 0;
    for value in values.filter(|value| *value != 0.0) {
        changes += usize::from(last * value.signum() < 0.0);
        last = value.signum();
    }
    changes
}

/// A point near `x` where the value is surely not zero.
fn nonzero(terms: &[Term], x: f64, factor: f64) -> f64 {
    let mut x = x;
    for _ in 0..8 {
        let at = value(terms, x);
        if at.value.abs() > NOISE * at.size {
            break;
        }
        x *= factor;
    }
    x
}

/// Exponents are measured from the term that weighs most, so that nothing overflows.
fn reference(terms: &[Term], x: f64) -> f64 {
    let heaviest = if x > 0.0 { terms.last() } else { terms.first() };
    heaviest.map_or(0.0, |term| term.time)
}

fn value(terms: &[Term], x: f64) -> Point {
    let reference = reference(terms, x);
    let (mut inflow, mut inflow_time, mut outflow, mut outflow_time) = (0.0, 0.0, 0.0, 0.0);
    for term in terms {
        let weighed = term.amount * (x * (term.time - reference)).exp();
        if term.amount > 0.0 {
            inflow += weighed;
            inflow_time += weighed * term.time;
        } else {
            outflow -= weighed;
            outflow_time -= weighed * term.time;
        }
    }
    Point {
        value: inflow - outflow,
        size: inflow + outflow,
        log_ratio: (inflow / outflow).ln(),
        slope: inflow_time / inflow - outflow_time / outflow,
    }
}

/// The root between two points of different sign, by Newton's method on the logarithm, kept inside by bisection.
fn solve(terms: &[Term], from: (f64, f64), to: (f64, f64), guess: f64) -> f64 {
    bracketed((from.0, to.0), from.1 < 0.0, guess, |x| {
        let at = value(terms, x);
        (at.value, at.log_ratio / at.slope)
    })
}

/// The one zero of `f` in a bracket. `f` gives its value and Newton's step; `rising` tells that it comes from below.
fn bracketed(bracket: (f64, f64), rising: bool, guess: f64, f: impl Fn(f64) -> (f64, f64)) -> f64 {
    let (mut low, mut high) = bracket;
    let mut x = if guess > low && guess < high { guess } else { f64::midpoint(low, high) };
    for round in 0..400 {
        let (value, step) = f(x);
        if value == 0.0 {
            return x;
        }
        if (value < 0.0) == rising {
            low = x;
        } else {
            high = x;
        }
        // After many rounds every other one halves the bracket, whatever Newton says.
        let newton = Some(x - step).filter(|next| *next > low && *next < high);
        let newton = newton.filter(|_| round < 40 || round % 2 == 0);
        let next = newton.unwrap_or_else(|| f64::midpoint(low, high));
        // Newton's method squares its error: after so short a step nothing is left of it.
        let enough = if newton.is_some() { 1e-10 } else { 4.0 * f64::EPSILON };
        if (next - x).abs() <= enough * x.abs().max(1.0) {
            return next;
        }
        x = next;
    }
    x
}

/// Changes of sign of the partial sums at `x`, from the earliest on, and the last of the sums.
fn partial_changes(terms: &[Term], x: f64) -> (usize, f64) {
    let reference = reference(terms, x);
    let total = value(terms, x).value;
    let mut sum = 0.0;
    // The last sum is the value as every other place computes it, or the two sides could disagree about its sign.
    let others = terms.len().saturating_sub(1);
    let sums = terms.iter().take(others).map(|term| {
        sum += term.amount * (x * (term.time - reference)).exp();
        sum
    });
    (changes(sums.chain(std::iter::once(total))), total)
}

/// The roots below a point that is none.
fn below(terms: &[Term], x: f64) -> Vec<f64> {
    let (most, at_x) = partial_changes(terms, x);
    let Some(first) = terms.first() else { return Vec::new() };
    match most {
        0 => return Vec::new(),
        1 => return vec![solve(terms, (-REACH, first.amount), (x, at_x), x - 0.1)],
        _ => {}
    }
    let mut step = 0.25;
    let mut lower = x;
    while lower > -REACH {
        lower = nonzero(terms, x - step, 1.001);
        if partial_changes(terms, lower).0 <= 1 {
            break;
        }
        step *= 2.0;
    }
    let mut found = match partial_changes(terms, lower) {
        (0, _) => Vec::new(),
        (_, at_lower) if (at_lower < 0.0) == (first.amount < 0.0) => Vec::new(),
        (_, at_lower) => vec![solve(terms, (-REACH, first.amount), (lower, at_lower), lower - 0.1)],
    };
    let start = (lower, value(terms, lower).value);
    search(terms, Piece { from: start, to: (x, at_x) }, &mut found);
    found
}

/// Cuts a piece until each part is understood.
fn search(terms: &[Term], whole: Piece, found: &mut Vec<f64>) {
    let mut left = vec![whole];
    let mut work = 0_usize;
    while let Some(piece) = left.pop() {
        work += terms.len();
        if understood(terms, piece, work > WORK, found) {
            continue;
        }
        // Off the middle, so that a root at a round number does not fall on a cut.
        let cut = piece.from.0 + 0.487 * (piece.to.0 - piece.from.0);
        let at = (cut, value(terms, cut).value);
        if at.1 == 0.0 {
            found.push(cut);
            let narrow = 1e-10 * (1.0 + cut.abs());
            let (under, over) = (cut - narrow, cut + narrow);
            left.push(Piece { from: piece.from, to: (under, value(terms, under).value) });
            left.push(Piece { from: (over, value(terms, over).value), to: piece.to });
            continue;
        }
        left.push(Piece { from: piece.from, to: at });
        left.push(Piece { from: at, to: piece.to });
    }
}

/// Finds the roots of a piece, if the expansion about its middle tells how many there are.
fn understood(terms: &[Term], piece: Piece, tired: bool, found: &mut Vec<f64>) -> bool {
    let (from, to) = (piece.from.0, piece.to.0);
    let (middle, half) = (f64::midpoint(from, to), (to - from) / 2.0);
    let differ = (piece.from.1 < 0.0) != (piece.to.1 < 0.0);
    let e = expand(terms, middle, half);
    let [g, slope, bend] = e.derivatives;
    let narrow = half <= 1e-10 * (1.0 + middle.abs());
    let monotone = slope.abs() > e.bounds[0] * half;
    if g.abs() > slope.abs() * half + e.bounds[0] * half * half / 2.0 + NOISE * e.size && !differ {
        return true;
    }
    if monotone || narrow || tired {
        if differ {
            found.push(solve(terms, piece.from, piece.to, middle));
        } else if narrow && g.abs() <= NOISE * e.size {
            found.push(middle);
        }
        return true;
    }
    let convex_or_concave = bend.abs() > e.bounds[1] * half;
    if !convex_or_concave {
        return false;
    }
    if differ {
        found.push(solve(terms, piece.from, piece.to, middle));
        return true;
    }
    let slope_at = |x: f64| centred(terms, x, e.centre).1;
    let (left, right) = (slope_at(from), slope_at(to));
    if (left < 0.0) == (right < 0.0) {
        return true;
    }
    let extremum = bracketed((from, to), left < 0.0, middle, |x| {
        let (_, slope, bend, _) = centred(terms, x, e.centre);
        (slope, slope / bend)
    });
    let (lowest, _, _, size) = centred(terms, extremum, e.centre);
    if lowest.abs() <= NOISE * size {
        found.push(extremum);
    } else if (lowest < 0.0) != (piece.from.1 < 0.0) {
        let at = (extremum, lowest);
        found.push(solve(terms, piece.from, at, f64::midpoint(from, extremum)));
        found.push(solve(terms, at, piece.to, f64::midpoint(extremum, to)));
    }
    true
}

/// Value, slope and second derivative of `sum(a e^(x (t - centre)))` up to one positive factor, and the sum of
/// its absolute terms.
fn centred(terms: &[Term], x: f64, centre: f64) -> (f64, f64, f64, f64) {
    let reference = reference(terms, x);
    let mut sums = (0.0, 0.0, 0.0, 0.0);
    for term in terms {
        let weighed = term.amount * (x * (term.time - reference)).exp();
        let off = term.time - centre;
        sums.0 += weighed;
        sums.1 += weighed * off;
        sums.2 += weighed * off * off;
        sums.3 += weighed.abs();
    }
    sums
}

/// Expands `g(x) e^(-x centre)`, which has the roots of `g`, about the middle of an interval. Times are measured
/// from where the absolute terms balance: that keeps the remainder small.
fn expand(terms: &[Term], middle: f64, half: f64) -> Expansion {
    let reference = reference(terms, middle);
    let (mut size, mut moment) = (0.0, 0.0);
    let weighed: Vec<f64> =
        terms.iter().map(|term| term.amount * (middle * (term.time - reference)).exp()).collect();
    for (term, weighed) in terms.iter().zip(&weighed) {
        size += weighed.abs();
        moment += weighed.abs() * term.time;
    }
    let centre = moment / size;
    let mut derivatives = [0.0; 3];
    // Terms before the centre are largest at the lower end, those after it at the upper one.
    let mut bounds = [[0.0_f64; 2]; 2];
    for (term, weighed) in terms.iter().zip(&weighed) {
        let off = term.time - centre;
        derivatives[0] += weighed;
        derivatives[1] += weighed * off;
        derivatives[2] += weighed * off * off;
        let most = weighed.abs() * (half * off.abs()).exp() * off * off;
        let later = usize::from(off > 0.0);
        if let Some(bounds) = bounds.get_mut(later) {
            bounds[0] += most;
            bounds[1] += most * off.abs();
        }
    }
    let bounds = [bounds[0][0] + bounds[1][0], bounds[0][1] + bounds[1][1]];
    Expansion { centre, derivatives, size, bounds }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(pairs: &[(f64, f64)]) -> Vec<Term> {
        pairs.iter().map(|&(time, amount)| Term { time, amount }).collect()
    }

    /// The terms of a polynomial in `v = e^x` with these roots.
    fn polynomial(wanted: &[f64]) -> Vec<Term> {
        let mut coefficients = vec![1.0];
        for root in wanted {
            let mut next = vec![0.0; coefficients.len() + 1];
            for (power, c) in coefficients.iter().enumerate() {
                next[power] -= c * root;
                next[power + 1] += c;
            }
            coefficients = next;
        }
        let terms = coefficients.iter().enumerate().filter(|(_, c)| **c != 0.0);
        terms.map(|(power, c)| Term { time: f64::from(u32::try_from(power).unwrap()), amount: *c }).collect()
    }

    fn assert_roots(terms: &[Term], wanted: &[f64], within: f64) {
        let found: Vec<f64> = roots(terms).iter().map(|x| x.exp()).collect();
        assert_eq!(found.len(), wanted.len(), "{found:?} for {wanted:?}");
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((found - wanted).abs() <= within * wanted, "{found:?} for {wanted:?}");
        }
    }

    #[test]
    fn one_change_of_sign_has_one_root_however_far_away() {
        assert_roots(&terms(&[(0.0, -100.0), (1.0, 110.0)]), &[1.0 / 1.1], 1e-15);
        let day = 1.0 / 365.0;
        // ln v = 365 ln(1e9): far outside what v itself can hold.
        let far = roots(&terms(&[(0.0, -1e9), (day, 1.0)]));
        assert!((far[0] - 365.0 * 1e9_f64.ln()).abs() < 1e-9, "{far:?}");
        let near = roots(&terms(&[(0.0, -1.0), (day, 1e9)]));
        assert!((near[0] + 365.0 * 1e9_f64.ln()).abs() < 1e-9, "{near:?}");
    }

    #[test]
    fn polynomials_give_their_positive_roots_back() {
        assert_roots(&polynomial(&[0.5, 0.9, 1.2]), &[0.5, 0.9, 1.2], 1e-12);
        assert_roots(&polynomial(&[0.01, 0.2, 1.0, 3.0, 90.0]), &[0.01, 0.2, 1.0, 3.0, 90.0], 1e-9);
        assert_roots(&polynomial(&[0.9, 0.901]), &[0.9, 0.901], 1e-9);
        // Negative roots and complex ones are no rates.
        assert_roots(&polynomial(&[0.5, -0.5, 2.0]), &[0.5, 2.0], 1e-12);
        assert_roots(&terms(&[(0.0, 1.0), (1.0, -1.0), (2.0, 1.0)]), &[], 0.0);
    }

    #[test]
    fn a_root_that_only_touches_is_found_once() {
        assert_roots(&polynomial(&[0.8, 0.8]), &[0.8], 1e-9);
        assert_roots(&polynomial(&[1.0, 1.0]), &[1.0], 1e-9);
        assert_roots(&polynomial(&[0.4, 0.8, 0.8]), &[0.4, 0.8], 1e-7);
        assert_roots(&polynomial(&[0.9, 0.9, 0.9]), &[0.9], 1e-4);
        // Lifted by a hair it has no root, lowered by a hair it has two.
        let mut lifted = polynomial(&[0.8, 0.8]);
        lifted[0].amount += 1e-9;
        assert_roots(&lifted, &[], 0.0);
        lifted[0].amount -= 2e-9;
        assert_roots(&lifted, &[0.8 - 3.162_277e-5, 0.8 + 3.162_277e-5], 1e-9);
    }

    #[test]
    fn many_alternating_terms_are_searched_in_bounded_time() {
        let mut seed = 7_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from(u32::try_from(seed >> 33).unwrap()) / f64::from(1_u32 << 31)
        };
        for _ in 0..20 {
            let mut time = 0.0;
            let many: Vec<Term> = (0..300)
                .map(|_| {
                    time += (1.0 + (random() * 20.0).floor()) / 365.0;
                    Term { time, amount: random() - 0.5 }
                })
                .collect();
            let found = roots(&many);
            // The ends decide whether the number of roots is odd.
            let odd = (many[0].amount < 0.0) != (many[299].amount < 0.0);
            assert_eq!(found.len() % 2 == 1, odd, "{found:?}");
            for x in found {
                let (value, _, _, size) = centred(&many, x, 0.0);
                assert!(value.abs() < 1e-10 * size, "{x}: {value} of {size}");
            }
        }
    }
}
