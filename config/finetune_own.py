# Your own chats in ten minutes on a CPU: the model in the box takes on a voice, and keeps its stops.
# First: python data/mychats/prepare.py --source=YOUR_EXPORT --bot=WHO --tokenizer=models/small-talk
# To keep its memory as well, put questions among them, and give --data_dir=data/recall/own here:
# python data/recall/prepare.py --filler=data/mychats --tokenizer=models/small-talk --context=400 --count=1500
#     --drills=0.5 --out_dir=data/recall/own
init_from = "models/small-talk"
data_dir = "data/mychats"
out_dir = "out-own"
block_size = 512

batch_size = 4
learning_rate = 2e-4
min_lr = 0.0
beta2 = 0.98
weight_decay = 0.01
warmup_iters = 20
max_iters = 1000
max_minutes = 10
eval_interval = 100
eval_iters = 10
patience = 3
