# The grown model meets its new tokens: half small talk, half words to be said again, at low rates. See runs/base.sh.
init_from = "out-base/school_512"
grow = True
data_dir = "data/base/drills"
out_dir = "out-base/drills"
n_layer = 8
n_embd = 384  # three times the school's
block_size = 512
learn = "all"

batch_size = 4
muon = True
muon_lr = 0.004  # AdamW at 6e-4 and Muon at 0.01 unlearn copying within 150 steps
learning_rate = 3e-4
min_lr = 3e-4
beta2 = 0.98
warmup_iters = 300
max_iters = 1500
eval_interval = 250
eval_iters = 10
patience = 0
copy_probe = True
