def run_script(*a): raise SystemExit
