"""Model folders on disk: ours, other people's, what a run resumes from, and exports."""
