"""PowerShell scripts without PowerShell: a grammar, an evaluator held against recorded values, and the same asked of a real one."""
