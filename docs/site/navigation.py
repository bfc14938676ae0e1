"""Pages of the site and their order in the sidebar."""

# Pages outside `docs/`, with their names on the site.
PAGES = {
    "README.md": "index",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
    "SECURITY.md": "security",
    "CODE_OF_CONDUCT.md": "code_of_conduct",
}

# Titles of the parts of the sidebar and their pages.
PARTS = {
    "Start": [
        "first_ten_minutes",
        "overview",
        "tutorials",
        "recipes",
        "cluster",
        "not_learning",
        "faq",
    ],
    "Coming from": ["migration", "from_spikingjelly", "from_norse_and_sinabs", "compatibility"],
    "Topics": [
        "layerwise",
        "deep",
        "your_own_neuron",
        "rules",
        "spike_times",
        "stdp",
        "conversion",
        "chaos",
        "spikes_as_events",
        "kernels",
        "cost",
        "time",
        "hardware",
        "reproducibility",
    ],
    "Reference": ["api/index", "measured"],
    "Project": ["how_a_value_travels", "contributing", "changelog", "security", "code_of_conduct"],
}
