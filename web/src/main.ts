import { mount } from 'svelte'
import './app.css'
import App from './App.svelte'
import { listen } from './lib/route.svelte'
import { currentUser } from './lib/session.svelte'

listen()
void currentUser.load()
const target = document.getElementById('app')
if (target) mount(App, { target })
