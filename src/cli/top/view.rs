//! What of the rows is shown, and in which order: keys in, a new state out.

use std::cmp::Ordering;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::buckets::Quantile;
use super::rows::{Group, Health, Row, Subject};
use super::sample::{Command, Order};

/// Rows that PgUp and PgDn go.
const PAGE: usize = 10;

/// Letters of a filter.
const FILTER_MAX: usize = 100;

#[derive(Debug, Default)]
pub(super) struct View {
    pub sort: Sort,
    pub reversed: bool,
    pub extent: Extent,
    /// Only rows with trouble.
    pub trouble: bool,
    /// Only rows with this text in a name; lower case.
    pub filter: String,
    pub selected: Option<Subject>,
    pub mode: Mode,
}

/// What the keys mean now.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Table,
    /// Letters go into the filter.
    Filter,
    /// Whether to carry out the order.
    Question(Order),
    Help,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// As the config has them.
    #[default]
    Config,
    Name,
    State,
    Rate,
    Errors,
    Slowest,
    InFlight,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Each pool with its endpoints below it.
    #[default]
    All,
    Pools,
    /// The endpoints of all pools in one list.
    Endpoints,
}

/// What a key asks of the program.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    Quit,
    Send(Order),
    /// Say this.
    Tell(&'static str),
}

// === impl View ===

impl View {
    /// The rows to show.
    pub fn rows(&self, groups: &[Group]) -> Vec<Row> {
        let mut groups: Vec<Group> = groups.to_vec();
        groups.sort_by(|one, other| self.compare(&one.pool, &other.pool));
        groups.iter_mut().for_each(|it| it.endpoints.sort_by(|one, other| self.compare(one, other)));
        let mut rows: Vec<Row> = match self.extent {
            Extent::All => groups.into_iter().flat_map(|group| self.with_its_pool(group)).collect(),
            Extent::Pools => {
                groups.into_iter().map(|group| group.pool).filter(|row| self.shows(row)).collect()
            }
            Extent::Endpoints => {
                groups.into_iter().flat_map(|it| it.endpoints).filter(|row| self.shows(row)).collect()
            }
        };
        if self.extent == Extent::Endpoints {
            rows.sort_by(|one, other| self.compare(one, other));
        }
        rows
    }

    /// A pool is shown with those of its endpoints that are shown, or by itself.
    fn with_its_pool(&self, group: Group) -> Vec<Row> {
        let Group { pool, endpoints } = group;
        let endpoints: Vec<Row> = endpoints.into_iter().filter(|row| self.shows(row)).collect();
        let is_shown = !endpoints.is_empty() || self.shows(&pool);
        is_shown.then_some(pool).into_iter().chain(endpoints).collect()
    }

    fn shows(&self, row: &Row) -> bool {
        let is_named = [Some(&row.subject.pool), row.subject.endpoint.as_ref()]
            .into_iter()
            .flatten()
            .any(|name| name.to_lowercase().contains(&self.filter));
        let in_trouble = row.health != Health::Well
            || row.errors.is_some_and(|errors| errors > 0.0)
            || row.waiting.is_some_and(|waiting| waiting > 0);
        is_named && (in_trouble || !self.trouble)
    }

    /// Numbers: the largest first; names: in order of the alphabet. Rows that are alike stay in the config's order.
    fn compare(&self, one: &Row, other: &Row) -> Ordering {
        let number = |of: fn(&Row) -> Option<f64>| {
            of(other).unwrap_or_default().total_cmp(&of(one).unwrap_or_default())
        };
        let ordering = match self.sort {
            Sort::Config => Ordering::Equal,
            Sort::Name => name(one).cmp(name(other)),
            Sort::State => other.health.cmp(&one.health),
            Sort::Rate => number(|row| row.rate),
            Sort::Errors => number(|row| row.errors),
            Sort::Slowest => Quantile::compare(other.p99, one.p99),
            Sort::InFlight => other.in_flight.cmp(&one.in_flight),
        };
        if self.reversed { ordering.reverse() } else { ordering }
    }

    /// Which of the rows is selected: the first if the one that was is gone.
    pub fn selected_in(&self, rows: &[Row]) -> usize {
        let selected = self.selected.as_ref();
        selected.and_then(|it| rows.iter().position(|row| row.subject == *it)).unwrap_or_default()
    }

    /// `rows`: those that are shown.
    pub fn press(&mut self, key: KeyEvent, rows: &[Row]) -> Option<Action> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return matches!(key.code, KeyCode::Char('c' | 'd')).then_some(Action::Quit);
        }
        match std::mem::take(&mut self.mode) {
            Mode::Table => self.press_in_table(key.code, rows),
            Mode::Filter => {
                self.press_in_filter(key.code);
                None
            }
            Mode::Question(order) => {
                matches!(key.code, KeyCode::Char('y' | 'Y')).then_some(Action::Send(order))
            }
            // Any key ends the help.
            Mode::Help => None,
        }
    }

    fn press_in_filter(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => return,
            KeyCode::Esc => return self.filter.clear(),
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(letter) if self.filter.len() < FILTER_MAX => {
                self.filter.extend(letter.to_lowercase());
            }
            _ => {}
        }
        self.mode = Mode::Filter;
    }

    fn press_in_table(&mut self, key: KeyCode, rows: &[Row]) -> Option<Action> {
        match key {
            KeyCode::Char('q') => return Some(Action::Quit),
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help,
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('S') => self.sort = self.sort.previous(),
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Char('p') => self.extent = self.extent.next(),
            KeyCode::Char('t') => self.trouble = !self.trouble,
            KeyCode::Char('d') => return self.ask(Command::Drain, rows),
            KeyCode::Char('u') => return self.ask(Command::Undrain, rows),
            KeyCode::Up | KeyCode::Char('k') => self.select(rows, |at| at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.select(rows, |at| at + 1),
            KeyCode::PageUp => self.select(rows, |at| at.saturating_sub(PAGE)),
            KeyCode::PageDown => self.select(rows, |at| at + PAGE),
            KeyCode::Home | KeyCode::Char('g') => self.select(rows, |_| 0),
            KeyCode::End | KeyCode::Char('G') => self.select(rows, |_| usize::MAX),
            _ => {}
        }
        None
    }

    fn select(&mut self, rows: &[Row], go: fn(usize) -> usize) {
        let at = go(self.selected_in(rows)).min(rows.len().saturating_sub(1));
        self.selected = rows.get(at).map(|row| row.subject.clone());
    }

    /// Asks whether to do that to the selected endpoint.
    fn ask(&mut self, command: Command, rows: &[Row]) -> Option<Action> {
        let subject = rows.get(self.selected_in(rows)).map(|row| row.subject.clone());
        let Some(Subject { pool, endpoint: Some(endpoint) }) = subject.clone() else {
            return Some(Action::Tell("select an endpoint first, with the arrows"));
        };
        // The rows may change their order while the question stands.
        self.selected = subject;
        self.mode = Mode::Question(Order { command, pool, endpoint });
        None
    }
}

fn name(row: &Row) -> &str {
    row.subject.endpoint.as_ref().unwrap_or(&row.subject.pool)
}

// === impl Sort ===

impl Sort {
    const ALL: [Self; 7] =
        [Self::Config, Self::Name, Self::State, Self::Rate, Self::Errors, Self::Slowest, Self::InFlight];

    pub fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Name => "name",
            Self::State => "state",
            Self::Rate => "rate",
            Self::Errors => "errors",
            Self::Slowest => "p99",
            Self::InFlight => "in flight",
        }
    }

    fn next(self) -> Self {
        Self::ALL[(self as usize + 1) % Self::ALL.len()]
    }

    fn previous(self) -> Self {
        Self::ALL[(self as usize + Self::ALL.len() - 1) % Self::ALL.len()]
    }
}

// === impl Extent ===

impl Extent {
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "pools and endpoints",
            Self::Pools => "pools",
            Self::Endpoints => "endpoints",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::All => Self::Pools,
            Self::Pools => Self::Endpoints,
            Self::Endpoints => Self::All,
        }
    }
}
