//! Reads `CHECKLIST.md`: how far each department is, and what is wrong with the file.
//!
//! The grammar stands at the top of `CHECKLIST.md`. A newcomer's mistake is to think that a line with a
//! slip in it is skipped: inside a department every list line is an item or a [`Problem`], so nothing
//! drops out of the counts unseen.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::{fmt, fs, io};

/// The path that every department walks, in this order; also the labels of the items.
pub const STAGES: [&str; 7] =
    ["setup", "build", "automate", "publish/deploy", "monitor", "iterate", "document"];
/// What a workflow needs an owner for.
pub const DUTIES: [&str; 3] = ["KPIs", "monitoring", "documentation"];
/// Stands between the text of an item and its evidence.
const EVIDENCE: &str = "— evidence:";

/// What the evidence of ticked items is compared with.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The source tree. Without it `file:` and `test:` are counted as unchecked.
    pub root: Option<&'a Path>,
    /// The commands of the program, without its name.
    pub commands: &'a [&'a str],
    /// The functions of the source tree, see [`test_names`].
    pub tests: &'a BTreeSet<String>,
}

/// Ticked items among all items.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Items ticked.
    pub ticked: usize,
    /// Items in all.
    pub total: usize,
}

/// How far a department is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Name of the department.
    pub department: String,
    /// All its items, those without a usable label too.
    pub count: Count,
    /// Its items by stage, in the order of [`STAGES`].
    pub stages: Vec<(&'static str, Count)>,
}

/// Something wrong with the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line of the file, from 1.
    pub line: usize,
    /// A stable word: `no_department`, `open_fence`, `misplaced`, `not_an_item`, `stage_missing`,
    /// `owner_missing`, `label_missing`, `label_unknown`, `out_of_order`, `evidence_missing` or
    /// `evidence_unknown`.
    pub code: &'static str,
    /// The same for a person.
    pub text: String,
}

/// What [`check`] found. Its `Display` is the answer for a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Progress by department, in the order of the file.
    pub departments: Vec<Progress>,
    /// What is wrong, by line.
    pub problems: Vec<Problem>,
    /// Names of evidence that could not be checked without a source tree.
    pub unchecked: usize,
}

struct Item<'a> {
    line: usize,
    ticked: bool,
    label: &'a str,
    evidence: Vec<&'a str>,
}

struct Workflow<'a> {
    line: usize,
    name: &'a str,
    owners: Vec<(&'a str, &'a str)>,
    items: Vec<Item<'a>>,
}

struct Department<'a> {
    line: usize,
    name: &'a str,
    workflows: Vec<Workflow<'a>>,
}

/// The departments so far; `inside` is false after a first-level heading.
#[derive(Default)]
struct Reader<'a> {
    departments: Vec<Department<'a>>,
    inside: bool,
    report: Report,
}

/// Reads the text of the file and compares its ticks with the evidence.
pub fn check(markdown: &str, evidence: &Evidence<'_>) -> Report {
    let mut reader = Reader::default();
    let mut fence = None;
    for (line, text) in (1..).zip(markdown.lines()) {
        if text.trim_start().starts_with("```") {
            fence = if fence.is_none() { Some(line) } else { None };
        } else if fence.is_none() {
            reader.read(line, text.trim_end());
        }
    }

    let Reader { departments, mut report, .. } = reader;
    if let Some(line) = fence {
        report.add(line, "open_fence", "this fenced block never ends");
    }
    if departments.is_empty() {
        report.add(1, "no_department", "the file has no department");
    }
    for department in &departments {
        report.judge(department, evidence);
    }
    report.problems.sort_by_key(|problem| problem.line);
    report
}

/// The names of all functions in `tests/**/*.rs` and `src/**/*.rs` below `root`.
pub fn test_names(root: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let folders = ["tests", "src"].iter().map(|folder| root.join(folder));
    let mut folders: Vec<PathBuf> = folders.filter(|folder| folder.is_dir()).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path)?;
                names.extend(text.lines().filter_map(function_name).map(str::to_owned));
            }
        }
    }
    Ok(names)
}

/// The `NAME` of a line that begins a `fn NAME(`.
fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let (name, _) = after.split_once('(')?;
    let begins = before.split_whitespace().all(|word| ["pub", "pub(crate)", "async"].contains(&word));
    let plain = !name.is_empty() && name.chars().all(|letter| letter == '_' || letter.is_alphanumeric());
    (begins && plain).then_some(name)
}

impl<'a> Item<'a> {
    fn parse(line: usize, text: &'a str) -> Option<Self> {
        let open = text.strip_prefix("- [ ] ");
        let rest = open.or_else(|| text.strip_prefix("- [x] "))?;
        let (body, names) = rest.split_once(EVIDENCE).unwrap_or((rest, ""));
        let label = body.strip_prefix('(').and_then(|body| Some(body.split_once(')')?.0)).unwrap_or_default();
        let evidence = names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        Some(Self { line, ticked: open.is_none(), label, evidence })
    }
}

impl<'a> Department<'a> {
    fn count(&self, wanted: impl Fn(&Item<'a>) -> bool) -> Count {
        let items = || self.workflows.iter().flat_map(|workflow| &workflow.items).filter(|item| wanted(item));
        Count { ticked: items().filter(|item| item.ticked).count(), total: items().count() }
    }
}

impl<'a> Reader<'a> {
    fn read(&mut self, line: usize, text: &'a str) {
        if let Some(name) = text.strip_prefix("## ") {
            self.inside = true;
            self.departments.push(Department { line, name, workflows: Vec::new() });
        } else if text.starts_with("# ") {
            self.inside = false;
        } else if self.read_part(line, text).is_none() {
            self.report.add(line, "misplaced", "this line belongs below a department and a workflow");
        }
    }

    /// `None` if the line means something, but not at this place.
    fn read_part(&mut self, line: usize, text: &'a str) -> Option<()> {
        let department = if self.inside { self.departments.last_mut() } else { None };
        if let Some(name) = text.strip_prefix("### ") {
            department?.workflows.push(Workflow { line, name, owners: Vec::new(), items: Vec::new() });
        } else if let Some(owners) = text.strip_prefix("Owner:") {
            let pairs = owners.split(';').filter_map(|pair| pair.split_once('='));
            let pairs = pairs.map(|(duty, role)| (duty.trim(), role.trim()));
            department?.workflows.last_mut()?.owners.extend(pairs);
        } else if let Some(item) = Item::parse(line, text) {
            department?.workflows.last_mut()?.items.push(item);
        } else if self.inside && text.trim_start().starts_with(['-', '*', '+']) {
            self.report.add(line, "not_an_item", "an item begins with `- [ ] ` or `- [x] `, not indented");
        }
        Some(())
    }
}

impl Evidence<'_> {
    /// Whether the named evidence is there; `None` if that cannot be told without a source tree.
    fn holds(&self, name: &str) -> Option<bool> {
        match name.split_once(':') {
            Some(("command", line)) => {
                Some(line.strip_prefix("artifact ").is_some_and(|command| self.commands.contains(&command)))
            }
            Some(("file", path)) => self.root.map(|root| {
                let below = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
                below && !path.is_empty() && root.join(path).exists()
            }),
            Some(("test", test)) => self.root.map(|_| self.tests.contains(test)),
            Some(_) | None => Some(false),
        }
    }
}

impl Report {
    /// Ticked items among all items of all departments.
    pub fn total(&self) -> Count {
        let all = || self.departments.iter().map(|progress| progress.count);
        Count { ticked: all().map(|part| part.ticked).sum(), total: all().map(|part| part.total).sum() }
    }

    fn add(&mut self, line: usize, code: &'static str, text: impl Into<String>) {
        self.problems.push(Problem { line, code, text: text.into() });
    }

    fn judge(&mut self, department: &Department<'_>, evidence: &Evidence<'_>) {
        let name = department.name;
        let stages = STAGES.map(|stage| (stage, department.count(|item| item.label == stage)));
        for (stage, _) in stages.iter().filter(|(_, count)| count.total == 0) {
            self.add(department.line, "stage_missing", format!("{name}: no item of stage {stage}"));
        }
        for workflow in &department.workflows {
            for duty in DUTIES {
                if !workflow.owners.iter().any(|(owned, role)| *owned == duty && !role.is_empty()) {
                    self.add(
                        workflow.line,
                        "owner_missing",
                        format!("{}: no owner for {duty}", workflow.name),
                    );
                }
            }
            self.judge_items(&workflow.items, evidence);
        }
        let count = department.count(|_| true);
        self.departments.push(Progress { department: name.to_owned(), count, stages: stages.to_vec() });
    }

    fn judge_items(&mut self, items: &[Item<'_>], evidence: &Evidence<'_>) {
        let mut reached = 0;
        for item in items {
            match STAGES.iter().position(|stage| *stage == item.label) {
                Some(stage) if stage < reached => {
                    self.add(item.line, "out_of_order", format!("stage {} comes too late", item.label));
                }
                Some(stage) => reached = stage,
                None if item.label.is_empty() => self.add(item.line, "label_missing", "no stage label"),
                None => self.add(item.line, "label_unknown", format!("\"{}\" is not a stage", item.label)),
            }
            if item.ticked && item.evidence.is_empty() {
                self.add(item.line, "evidence_missing", "ticked without evidence");
            }
            for name in item.evidence.iter().filter(|_| item.ticked) {
                match evidence.holds(name) {
                    Some(true) => {}
                    Some(false) => self.add(item.line, "evidence_unknown", format!("{name} does not exist")),
                    None => self.unchecked += 1,
                }
            }
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.ticked, self.total))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.departments.iter().map(|progress| progress.department.chars().count());
        let width = names.max().unwrap_or_default().max(10);
        write!(f, "{:width$}  {:>7}", "Department", "ticked")?;
        for stage in STAGES {
            write!(f, "  {stage:>7}")?;
        }
        for progress in &self.departments {
            write!(f, "\n{:width$}  {:>7}", progress.department, progress.count)?;
            for (stage, count) in &progress.stages {
                write!(f, "  {count:>cell$}", cell = stage.len().max(7))?;
            }
        }
        writeln!(f, "\n{:width$}  {:>7}", "total", self.total())?;
        if self.unchecked > 0 {
            writeln!(f, "evidence not checked, no source tree here: {}", self.unchecked)?;
        }
        writeln!(f, "problems: {}", self.problems.len())?;
        for problem in &self.problems {
            writeln!(f, "line {}: {} ({})", problem.line, problem.text, problem.code)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &str = "# Title\n\n- a rule\n```\n- [x] an example\n```\n## Quality\n### Tests\n\
        Owner: KPIs = A; monitoring = B; documentation = C\n\
        - [x] (setup) a — evidence: command:artifact serve\n- [ ] (build) b\n- [ ] (build) c\n\
        - [ ] (automate) d\n- [ ] (publish/deploy) e\n- [ ] (monitor) f\n- [ ] (iterate) g\n\
        - [x] (document) h — evidence: file:CHECKLIST.md, test:report\n# End\n";

    /// Tests run in the folder of the package.
    fn report(markdown: &str) -> Report {
        let root = Path::new(".");
        let tests = test_names(root).unwrap();
        check(markdown, &Evidence { root: Some(root), commands: &["serve"], tests: &tests })
    }

    /// Line and code of the problems once `from` in the fine text has become `to`.
    fn after(from: &str, to: &str) -> Vec<(usize, &'static str)> {
        assert!(FINE.contains(from));
        report(&FINE.replacen(from, to, 1)).problems.iter().map(|found| (found.line, found.code)).collect()
    }

    #[test]
    fn progress_is_counted_by_department_and_stage() {
        let report = report(FINE);
        assert_eq!((report.problems.len(), report.unchecked), (0, 0), "{report}");
        let quality = report.departments.first().unwrap();
        assert_eq!((quality.department.as_str(), quality.count), ("Quality", Count { ticked: 2, total: 8 }));
        let stages: Vec<_> = quality.stages.iter().map(|(_, count)| (count.ticked, count.total)).collect();
        assert_eq!(stages, [(1, 1), (0, 2), (0, 1), (0, 1), (0, 1), (0, 1), (1, 1)]);
        assert!(report.to_string().contains("\nQuality         2/8      1/1      0/2"), "{report}");
    }

    #[test]
    fn a_department_without_a_stage_is_a_problem() {
        assert_eq!(after("- [ ] (iterate) g\n", ""), [(7, "stage_missing")]);
        assert_eq!(report("nothing").problems.first().unwrap().code, "no_department");
    }

    #[test]
    fn a_workflow_without_an_owner_is_a_problem() {
        for (from, to) in [("KPIs = A; ", ""), ("; monitoring = B", ""), ("= C", "=")] {
            assert_eq!(after(from, to), [(8, "owner_missing")], "{from}");
        }
    }

    #[test]
    fn an_item_without_a_known_stage_is_a_problem() {
        assert_eq!(after("(build) c", "c"), [(12, "label_missing")]);
        assert_eq!(after("(build) c", "(bild) c"), [(12, "label_unknown")]);
        assert_eq!(after("(build) c", "(setup) c"), [(12, "out_of_order")]);
    }

    #[test]
    fn a_line_that_would_drop_out_of_the_counts_is_a_problem() {
        assert_eq!(after("- [ ] (build) c", "  - [ ] (build) c"), [(12, "not_an_item")]);
        assert_eq!(after("- [ ] (build) c", "- [X] (build) c"), [(12, "not_an_item")]);
        assert_eq!(after("- a rule", "- [ ] (build) c"), [(3, "misplaced")]);
        assert_eq!(after("# End", "```"), [(18, "open_fence")]);
    }

    #[test]
    fn a_tick_without_evidence_or_with_none_that_exists_is_a_problem() {
        assert_eq!(after("- [ ] (build) c", "- [x] (build) c"), [(12, "evidence_missing")]);
        for wrong in
            ["file:no-such.md", "file:../", "file:", "test:no_such_test", "command:artifact fly", "word"]
        {
            assert_eq!(after("test:report", wrong), [(17, "evidence_unknown")], "{wrong}");
        }
        assert_eq!(function_name("    pub(crate) async fn it_works() {"), Some("it_works"));
        assert_eq!(function_name("// fn it_works() {"), None);
        let tests = BTreeSet::new();
        let bare = check(FINE, &Evidence { root: None, commands: &["serve"], tests: &tests });
        assert_eq!((bare.problems.len(), bare.unchecked), (0, 2));
    }

    #[test]
    fn the_checklist_of_this_product_keeps_the_rules_and_its_roles_stand_in_the_mandate() {
        let text = fs::read_to_string("CHECKLIST.md").unwrap();
        let mut report = report(&text);
        report.problems.retain(|problem| problem.code != "evidence_unknown");
        assert!(report.problems.is_empty() && report.total().total > 117, "{report}");
        let mandate = fs::read_to_string("MANDATE.md").unwrap();
        for line in text.lines().filter_map(|line| line.strip_prefix("Owner:")) {
            for role in line.split(';').filter_map(|pair| Some(pair.split_once('=')?.1.trim())) {
                assert!(mandate.contains(&format!("| {role} |")), "{role}");
            }
        }
    }
}
