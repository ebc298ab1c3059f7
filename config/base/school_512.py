# Copying over the whole context, with gaps between the repetitions. See runs/base.sh.
init_from = "out-base/school_64"
data_dir = "data/copy/school_512"
out_dir = "out-base/school_512"
block_size = 512
batch_size = 4
learning_rate = 1e-3
min_lr = 1e-4
beta2 = 0.98
weight_decay = 0.01
warmup_iters = 50
max_iters = 1000
eval_interval = 100
eval_iters = 4
patience = 0
copy_probe = True
dtype = "float32"
threads = 1  # a model this small gains nothing from a second, and loses much where a core is busy
