# Behind the config of the language and the chat stage: the same on a GPU, with 192 rows a step. See runs/base.sh.
batch_size = 192
muon_lr = 0.02
learning_rate = 2e-3
min_lr = 0.0
dropout = 0.1
eval_interval = 1000
eval_iters = 10
log_interval = 50
